"""Message <-> AMQP body and properties. The only JSON of this package."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final
from uuid import UUID, uuid4

from pydantic import ValidationError

from messages.control import CancelRequested
from messages.envelope import (
    ATTEMPT_HEADER,
    CONTENT_TYPE,
    MAX_BODY_BYTES,
    TRACEPARENT_HEADER,
    Message,
    Wire,
)
from messages.errors import ContractError, UndecodableMessage, UnknownVersion
from messages.events import RUN_EVENTS, RunEvent
from messages.lab import LabHeartbeat, LabModel
from messages.request import InferenceRequested

#: Every message that can travel, in the order of a request's life.
ALL_MESSAGES: Final[tuple[type[Message], ...]] = (
    InferenceRequested,
    *RUN_EVENTS,
    CancelRequested,
    LabHeartbeat,
    LabModel,
)

_BY_TYPE: Final[Mapping[str, type[Message]]] = {m.wire_type(): m for m in ALL_MESSAGES}
_KNOWN_NAMES: Final = frozenset(m.TYPE for m in ALL_MESSAGES)
_WIRE_TYPE = re.compile(r"(?P<name>[a-z_.]+)\.v(?P<version>[0-9]{1,4})")


def encode(
    message: Message,
    *,
    app_id: str,
    user_id: str | None = None,
) -> Wire:
    """Give the message its body and properties.

    Raises `ContractError` when the body would be larger than `MAX_BODY_BYTES`.
    """
    body = message.model_dump_json(exclude_none=True).encode()
    if len(body) > MAX_BODY_BYTES:
        raise ContractError(f"{message.wire_type()} would be {len(body)} bytes long")
    request_id: UUID | None = getattr(message, "request_id", None)
    attempt: int | None = getattr(message, "attempt", None)
    headers: dict[str, str | int] = {}
    if attempt is not None:
        headers[ATTEMPT_HEADER] = attempt
    message_id = message.event_id if isinstance(message, RunEvent) else uuid4()
    if request_id is not None:
        # W3C Trace Context: the request is the trace, the message the span.
        headers[TRACEPARENT_HEADER] = f"00-{request_id.hex}-{message_id.hex[:16]}-01"
    return Wire(
        body=body,
        type=message.wire_type(),
        message_id=str(message_id),
        correlation_id=None if request_id is None else str(request_id),
        timestamp=int(time.time()),
        app_id=app_id,
        user_id=user_id,
        headers=headers,
    )


def decode(
    body: bytes, *, type_: str | bytes | None, content_type: str | bytes | None = CONTENT_TYPE
) -> Message:
    """Read a message back. A property that is no UTF-8 may come as the bytes that it is.

    Raises `UnknownVersion` for a known type in an unknown version or with an unknown word, and
    `UndecodableMessage` for everything else that is not a valid message. Neither quotes the body.
    """
    if content_type not in (None, CONTENT_TYPE):
        raise UndecodableMessage("the content type is not application/json")
    if len(body) > MAX_BODY_BYTES:
        raise UndecodableMessage(f"the body has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    if isinstance(type_, bytes):
        raise UndecodableMessage("the type is no text")
    model = _BY_TYPE.get(type_ or "")
    if model is None:
        match = _WIRE_TYPE.fullmatch(type_ or "")
        if match and match["name"] in _KNOWN_NAMES:
            raise UnknownVersion(f"version {match['version']} of {match['name']} is not known here")
        raise UndecodableMessage("the type is not one of ours")
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        if all(error["type"] == "enum" for error in exc.errors()):
            # Everything is well but for a word that we do not know: a newer sender has it.
            raise UnknownVersion(f"{model.wire_type()} holds a newer word") from None
        where = sorted({".".join(str(part) for part in e["loc"]) for e in exc.errors()})
        fields = ", ".join(where[:5]) or "body"
        # `from None`: pydantic's own text quotes the values that it refuses.
        raise UndecodableMessage(f"{model.wire_type()} is not valid in: {fields[:200]}") from None
