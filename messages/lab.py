"""What a lab tells of itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from messages.envelope import Message, Name, Sentence, Sha256, Value

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


class ModelDescriptor(Value):
    """A model that a lab serves, as its bundle's metadata describe it."""

    name: Name
    version: Annotated[str, Field(max_length=64)]
    sha256: Sha256
    #: Inputs in channel order: ``pre, post1, post2, last``, or ``image``.
    roles: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16)]
    #: What the mask marks, in channel order.
    labels: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(min_length=1)]
    #: What a reader must know before trusting a result; shown wherever the model shows.
    notice: Sentence


class LabHeartbeat(Message):
    """A lab is alive. A hint: it travels to ``mri.progress`` and may be lost."""

    TYPE: ClassVar[str] = "lab.heartbeat"
    ROUTING_KEY: ClassVar[str] = "lab.heartbeat"

    lab: Name
    pool: Name
    #: For example ``cpu`` or ``cuda:0 NVIDIA H200``.
    device: Annotated[str, Field(max_length=128)]
    models: tuple[ModelDescriptor, ...]
    #: Requests that the lab holds now.
    current: tuple[UUID, ...] = ()
    #: One of the three above. A name and no enumeration: a word that an older site does not know
    #: must not make it take the lab for silent.
    condition: Name = SERVING
    at: datetime
