"""What can happen to a request besides the events of labs (`messages.events`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from messages.events import RunEvent
from messages.failures import FailureCode


@dataclass(frozen=True)
class Published:
    """The broker has confirmed the request."""

    at: datetime


@dataclass(frozen=True)
class DeadLettered:
    """The request, in this attempt, was found in ``mri.dead``."""

    attempt: int
    at: datetime


@dataclass(frozen=True)
class CancelAsked:
    """The reader no longer wants the result."""

    at: datetime
    #: Whether its message was taken back before any relay had it.
    unsent: bool


@dataclass(frozen=True)
class CancelSettled:
    """No lab holds the request whose cancel was asked: nobody is left to confirm it."""

    at: datetime


@dataclass(frozen=True)
class TimedOut:
    """The site ends the request: nobody took it in time, or it took longer than it may."""

    at: datetime
    #: `EXPIRED` or `DEADLINE_EXCEEDED`.
    code: FailureCode
    detail: str


@dataclass(frozen=True)
class ResultFound:
    """The site has seen the whole result in the archive, where it belongs."""

    at: datetime
    #: As `InferenceRequest.result` holds them: read from the stored objects.
    figures: dict[str, Any]
    #: The one that the stored report names, as far as it does.
    lab: str


@dataclass(frozen=True)
class ResultMissing:
    """A lab has reported a result, and the archive has answered again and again without it."""

    at: datetime
    #: For an operator.
    detail: str


@dataclass(frozen=True)
class Released:
    """What the message of a held request waited for has come: it may be sent."""

    at: datetime


@dataclass(frozen=True)
class ReleaseRefused:
    """What has arrived of a held request's choice cannot be analysed."""

    at: datetime
    #: What a lab would say of it.
    code: FailureCode
    detail: str


@dataclass(frozen=True)
class SentAgain:
    """A new attempt is written down: the request was lost on its way, or staff replayed it."""

    at: datetime
    #: From `dead`, which only staff leaves.
    by_staff: bool = False


#: Everything that can happen to a request.
Trigger = (
    RunEvent
    | Published
    | DeadLettered
    | CancelAsked
    | CancelSettled
    | TimedOut
    | ResultFound
    | ResultMissing
    | Released
    | ReleaseRefused
    | SentAgain
)
