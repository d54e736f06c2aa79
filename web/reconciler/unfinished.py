"""The requests that have not ended yet: few, among all that there ever were."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

import structlog
from django.db.models import QuerySet

from web.inference.models import InferenceRequest
from web.inference.states import ACTIVE, State

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: In the words of the index `request_unfinished`. As a text: SQLite chooses a partial index only
#: where the query repeats its condition literally, and a value that is bound is not literal.
_CONDITION = "state IN ({})".format(
    ", ".join(f"'{state}'" for state in sorted(ACTIVE | {State.CANCELLING}))
)


def unfinished() -> QuerySet[InferenceRequest]:
    """Rows that something can still happen to without a click; found by their index."""
    return InferenceRequest.objects.extra(where=[_CONDITION])  # noqa: S610 - constants of ours


def pools_of_unfinished() -> dict[UUID, str]:
    """The pool of each."""
    return dict(unfinished().values_list("pk", "pool"))


def each(rows: Iterable[InferenceRequest], look: Callable[[InferenceRequest], T | None]) -> list[T]:
    """What `look` finds at each row; nothing at one at which it fails, which the log names.

    A row with a value that nobody foresaw keeps no other from its turn.
    """
    found = []
    for row in rows:
        try:
            one = look(row)
        except (ArithmeticError, TypeError, ValueError, LookupError):
            log.exception("row_not_understood", request_id=str(row.pk))
            continue
        if one is not None:
            found.append(one)
    return found
