"""Why a request is not taken: a code for programs and a sentence for the reader.

Refused
├── NotAsked      the request itself is wrong (4xx); asking again unchanged will not help
└── NotNow        the archive cannot be asked (503); nothing was queued
"""

from __future__ import annotations

from django.utils.functional import Promise

#: HTTP: the request is in no state for this.
CONFLICT = 409


class Refused(Exception):
    """Base: nothing was written and nothing will be published."""

    #: HTTP status.
    status = 422

    def __init__(self, code: str, message: str | Promise, status: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = self.status if status is None else status


class NotAsked(Refused):
    """The input is wrong."""


class NotNow(Refused):
    """The archive does not answer."""

    status = 503
