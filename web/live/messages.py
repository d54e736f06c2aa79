"""What is said over the socket, in both directions: the models that it is written and read by."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from messages.lab import ModelDescriptor
from web.inference.presentation import Moment, RequestView

#: Requests that one socket may follow by id.
MAX_FOLLOWED = 200


class Follow(BaseModel):
    """What a page wants to be told of: these requests, the newest ones, or both."""

    type: Literal["follow"]
    request_ids: Annotated[list[UUID], Field(max_length=MAX_FOLLOWED)] = []
    worklist: bool = False


class LabView(BaseModel):
    """A lab as it last told of itself."""

    lab: str
    pool: str
    online: bool
    #: For example ``cpu`` or ``cuda:0 NVIDIA H200``.
    device: str
    #: ``serving``, ``archive_away`` or ``draining``.
    condition: str
    models: list[ModelDescriptor]
    last_seen: Moment


class SnapshotMessage(BaseModel):
    """The requests that a page follows, as they are. The answer to `follow`."""

    type: Literal["snapshot"] = "snapshot"
    requests: list[RequestView]


class EventMessage(BaseModel):
    """A request that has changed. A page drops a version that is not newer than what it shows."""

    type: Literal["event"] = "event"
    request: RequestView


class LabMessage(BaseModel):
    """The labs, all of them, whenever a reader would see a difference."""

    type: Literal["lab"] = "lab"
    labs: list[LabView]


class ErrorMessage(BaseModel):
    """What the page said was not taken; the connection stays."""

    type: Literal["error"] = "error"
    code: str
    #: A sentence in the reader's language.
    message: str


#: What the server can say.
ServerMessage = SnapshotMessage | EventMessage | LabMessage | ErrorMessage
