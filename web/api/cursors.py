"""Where a page of a list ends: the place of its last row, as a text that callers hand back.

The next page begins behind that place and not at a number of rows, so that nothing is shown twice
or left out while new rows arrive before it.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError

from web.refusals import NotAsked

T = TypeVar("T")

#: Rows of a page.
DEFAULT_LIMIT = 50
MAX_LIMIT = 100

#: Databases cannot compare what lies far outside of this.
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _comparable(moment: datetime) -> datetime:
    if not _FIRST <= moment <= _LAST:
        raise ValueError("out of range")
    return moment


#: A moment with its time zone.
Instant = Annotated[AwareDatetime, AfterValidator(_comparable)]

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Rows of this page.")]

Cursor = Annotated[
    str, Field(max_length=512, description="`next` of the page before. Without: the first page.")
]


def cursor_of(place: T, kind: TypeAdapter[T]) -> str:
    """The text for a place."""
    return base64.urlsafe_b64encode(kind.dump_json(place)).decode().rstrip("=")


def place_of(cursor: str, kind: TypeAdapter[T]) -> T:
    """The place that a text names; raises `NotAsked` for what is no cursor of this list."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return kind.validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, ValidationError):
        sentence = _("This cursor does not belong to this list.")
        raise NotAsked("malformed_cursor", sentence) from None
