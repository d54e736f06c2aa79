"""The requests that have not ended yet: few, among all that there ever were."""

from __future__ import annotations

from django.db.models import QuerySet

from web.inference.models import InferenceRequest
from web.inference.states import ACTIVE, State

#: In the words of the index `request_unfinished`. As a text: SQLite chooses a partial index only
#: where the query repeats its condition literally, and a value that is bound is not literal.
_CONDITION = "state IN ({})".format(
    ", ".join(f"'{state}'" for state in sorted(ACTIVE | {State.CANCELLING}))
)


def unfinished() -> QuerySet[InferenceRequest]:
    """Rows that something can still happen to without a click; found by their index."""
    return InferenceRequest.objects.extra(where=[_CONDITION])  # noqa: S610 - constants of ours
