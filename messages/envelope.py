"""What every message shares: a frozen body, a wire type with a version, and its AMQP properties."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
)

#: The largest body that either side accepts, in bytes. The largest honest message is about 4 KB.
MAX_BODY_BYTES = 64 * 1024

#: Header that carries our own attempt (1, 2, ...), raised by every retry and replay.
ATTEMPT_HEADER = "x-labrelay-attempt"

#: Header that carries the W3C trace context: all messages of a request are one trace.
TRACEPARENT_HEADER = "traceparent"

#: Header in which a quorum queue counts earlier deliveries; absent on the first.
DELIVERY_COUNT_HEADER = "x-delivery-count"

#: Header in which RabbitMQ 4.3 counts how often a message was taken before: also when it came back
#: without a count of the delivery, by a nack or a consumer timeout. Absent on the first and before.
ACQUIRED_COUNT_HEADER = "x-acquired-count"

#: The largest whole number that a column of the site's database holds (PostgreSQL's integer).
MAX_INTEGER = 2**31 - 1

#: Attempts that a request can have. A retry budget is six; every replay and second sending adds
#: one. Far from `MAX_INTEGER`, so that the site can always count on from what a lab said.
MAX_ATTEMPTS = 1_000_000

#: Deliveries of one attempt; the queues' limit is 20.
MAX_DELIVERIES = 1_000_000

#: Characters of a model's version, and of one of its labels.
MAX_WORD = 64

#: The only content type that either side writes or reads.
CONTENT_TYPE = "application/json"

#: An Orthanc identifier: five groups of eight hexadecimal digits. Checked before it enters a URL.
ORTHANC_ID_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{8}){4}$"

#: A DICOM UID (PS3.5 section 9.1): digits and dots, at most 64 characters.
UID_PATTERN = r"^[0-9]+(\.[0-9]+)*$"

#: A name of ours (model, lab, pool, role): safe in a routing key, a queue name and a URL.
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def without_line_breaks(text: str) -> str:
    """The text itself; raises `ValueError` for one with control characters."""
    if any(ord(character) < 0x20 for character in text):
        raise ValueError("control characters are not allowed")
    return text


#: A whole number that a column holds.
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Attempt = Annotated[int, Field(ge=1, le=MAX_ATTEMPTS)]

#: Seconds that something took: at most a year.
Seconds = Annotated[float, Field(ge=0, le=366 * 24 * 3600)]

#: A time with its zone. One without could be compared with none of the site's.
Moment = AwareDatetime

Word = Annotated[str, StringConstraints(max_length=MAX_WORD), AfterValidator(without_line_breaks)]
OrthancId = Annotated[str, StringConstraints(pattern=ORTHANC_ID_PATTERN)]
Uid = Annotated[str, StringConstraints(pattern=UID_PATTERN, max_length=64)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sentence = Annotated[str, StringConstraints(max_length=500), AfterValidator(without_line_breaks)]


class Value(BaseModel):
    """A frozen part of a message. Unknown fields are tolerated: a newer sender may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Message(Value):
    """A body that travels on its own. ``TYPE`` and ``VERSION`` name it on the wire."""

    TYPE: ClassVar[str]
    VERSION: ClassVar[int] = 1

    @classmethod
    def wire_type(cls) -> str:
        """The AMQP ``type`` property, for example ``inference.completed.v1``."""
        return f"{cls.TYPE}.v{cls.VERSION}"


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One AMQP message, free of any client library: a body and the properties that we use."""

    body: bytes
    type: str
    message_id: str
    correlation_id: str | None
    #: Seconds since the epoch, as AMQP has it.
    timestamp: int
    app_id: str
    #: The AMQP user that sends; the broker refuses a message that names another one.
    user_id: str | None = None
    content_type: str = CONTENT_TYPE
    headers: dict[str, str | int] = field(default_factory=dict)

    @property
    def attempt(self) -> int | None:
        """Our attempt from the header, or None where it is missing or no positive integer."""
        value = self.headers.get(ATTEMPT_HEADER)
        return value if isinstance(value, int) and value >= 1 else None
