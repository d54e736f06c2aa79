"""What a lab tells of itself."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AfterValidator, Field

from messages.envelope import (
    Message,
    Moment,
    Name,
    Sentence,
    Sha256,
    Value,
    Word,
    without_line_breaks,
)
from messages.topology import CONTROL_QUEUES

#: Seconds between two heartbeats of a lab.
HEARTBEAT_SECONDS = 10

#: Seconds of silence after which a lab is shown as offline: three heartbeats.
OFFLINE_AFTER_SECONDS = 30


#: `LabHeartbeat.condition` of a lab that takes requests.
SERVING = "serving"

#: The archive does not answer the lab's probe: it keeps what it holds and takes no more.
ARCHIVE_AWAY = "archive_away"

#: An engineer told it to finish what it holds and take no more.
DRAINING = "draining"


#: Models that one lab can serve, and labels that one of them can have: the whole model zoo of MONAI
#: (31 bundles), and a whole-brain segmentation of 133 structures, fit in with room.
MAX_MODELS, MAX_LABELS = 64, 512

#: Requests that a lab can hold at once; an honest one holds as many as its prefetch.
MAX_CURRENT = 256

#: Processes of one lab that are told apart: as many as it has control queues, and as many again
#: that were lost just now.
MAX_PROCESSES = 2 * CONTROL_QUEUES


class ModelDescriptor(Value):
    """A model that a lab serves, as its bundle's metadata describe it."""

    name: Name
    version: Word
    sha256: Sha256
    #: Inputs in channel order: ``pre, post1, post2, last``, or ``image``.
    roles: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    #: What the mask marks, in channel order.
    labels: Annotated[tuple[Word, ...], Field(min_length=1, max_length=MAX_LABELS)]
    #: What a reader must know before trusting a result; shown wherever the model shows.
    notice: Sentence

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex of the whole description: another word, another fingerprint."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


class LabModel(Message):
    """A model that a lab serves: told at its start, when it changes, and again now and then.

    A hint, like the heartbeat, which names its fingerprint: a site that missed it knows so.
    """

    TYPE: ClassVar[str] = "lab.model"
    ROUTING_KEY: ClassVar[str] = "lab.model"

    lab: Name
    pool: Name
    model: ModelDescriptor
    at: Moment


class LabHeartbeat(Message):
    """A lab is alive. A hint: it travels to ``mri.progress.<pool>`` and may be lost."""

    TYPE: ClassVar[str] = "lab.heartbeat"
    ROUTING_KEY: ClassVar[str] = "lab.heartbeat"

    lab: Name
    pool: Name
    #: Which of the processes that run under the lab's name: drawn at its start. None: an older one.
    process: UUID | None = None
    #: For example ``cpu`` or ``cuda:0 NVIDIA H200``.
    device: Annotated[str, Field(max_length=128), AfterValidator(without_line_breaks)]
    #: Of a lab that sends no `LabModel`, all of its models. Of one that does, as many as fit into
    #: `MODELS_BYTES`, or none, for a site that knows no `LabModel`; goes with the next version.
    models: Annotated[tuple[ModelDescriptor, ...], Field(max_length=MAX_MODELS)] = ()
    #: `ModelDescriptor.fingerprint` of every model that it serves; None from a lab of before.
    fingerprints: Annotated[tuple[Sha256, ...], Field(max_length=MAX_MODELS)] | None = None
    #: Requests that this process holds now.
    current: Annotated[tuple[UUID, ...], Field(max_length=MAX_CURRENT)] = ()
    #: One of the three above. A name and no enumeration: a word that an older site does not know
    #: must not make it take the lab for silent.
    condition: Name = SERVING
    #: By the lab's clock: how far it is from the site's is learnt from it, and nothing else.
    at: Moment


#: Bytes of descriptors that a heartbeat carries for a site of before.
MODELS_BYTES = 16 * 1024
