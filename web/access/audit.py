"""The audit trail: one row for what somebody did, in the transaction that does it if there is one.

Who looks at the same thing again is written down once an hour (`web.access.caller`).

No patient's name or id is written, only Orthanc's ids and ours.
"""

from __future__ import annotations

from enum import StrEnum

from web.access.models import AuditEntry


class Action(StrEnum):
    """What is written down."""

    #: A log-in that succeeded, one that failed, and a log-out.
    LOGGED_IN = "logged_in"
    LOGIN_FAILED = "login_failed"
    LOGGED_OUT = "logged_out"
    #: A list of studies, which names patients, was opened.
    STUDIES_LISTED = "studies_listed"
    #: A study's page, its description or one of its images was opened.
    STUDY_VIEWED = "study_viewed"
    #: A result's outlines or figures were shown or told.
    RESULT_VIEWED = "result_viewed"
    #: The pixels of a stored object left as data for another program.
    EXPORTED = "exported"
    #: An analysis was asked for.
    REQUESTED = "requested"
    #: An analysis was stopped.
    CANCELLED = "cancelled"
    #: A result was accepted, rejected or commented on. What the reader wrote is not in the entry.
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    COMMENTED = "commented"
    #: Staff took readers' verdicts away as a table.
    VERDICTS_EXPORTED = "verdicts_exported"
    #: Staff withdrew a result, or had its objects removed from the archive.
    WITHDRAWN = "withdrawn"
    OBJECTS_REMOVED = "objects_removed"
    #: Staff sent a dead letter again, or put one aside.
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    #: Somebody tried to open what is not granted to them.
    REFUSED = "refused"


class Way(StrEnum):
    """How somebody came in."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a word
    NETWORK = "network"
    #: A command on the server itself.
    COMMAND = "command"


def note(
    action: Action,
    *,
    user_id: int | None,
    way: Way = Way.SESSION,
    address: str | None = None,
    study_id: str = "",
    subject: str = "",
) -> None:
    """Write an entry."""
    AuditEntry.objects.create(
        action=action.value,
        user_id=user_id,
        way=way.value,
        address=address or None,
        study_id=study_id,
        subject=subject,
    )
