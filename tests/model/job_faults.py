"""What a modelled job can meet; each is named after the error of the lab that it stands for."""

from __future__ import annotations

from messages.failures import FailureCode


class Passing(Exception):
    """As `consumer.errors.Retry`."""

    code = FailureCode.UPLOAD_REJECTED


class Away(Passing):
    """As `consumer.errors.ArchiveUnavailable`."""

    code = FailureCode.ARCHIVE_UNAVAILABLE


class Lasting(Exception):
    """As `consumer.errors.Reject`."""

    code = FailureCode.GEOMETRY_MISMATCH


class TooLong(Lasting):
    """As `consumer.errors.DeadlineExceeded`."""

    code = FailureCode.DEADLINE_EXCEEDED


class Cancelled(Exception):
    """As `consumer.errors.RequestCancelled`."""


class Ours(Exception):
    """A fault of the lab itself, which no job expects."""
