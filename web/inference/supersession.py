"""What has become of a result since it was stored: newer ones, and what readers think of it.

None of it is in the request's row, and yet a page that is open must learn of it. A page drops what
is not newer than what it shows, so each of these things raises the version that is *told* of the
request by one. They only ever grow, as the row's own version does: the sum rises with every change
and never falls. Row and standing are read in one statement; read apart, two states could be told
under one version.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Case, Count, F, IntegerField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from web.inference.models import InferenceRequest
from web.inference.states import State
from web.inference.superseded import later_results
from web.inference.verdict import DECIDING, Decision, Verdict


@dataclass(frozen=True)
class Supersession:
    """Of a request that has no result: nothing."""

    #: The latest result of the same study and model that was not withdrawn, if it is not this one.
    superseded_by: UUID | None = None
    #: The latest that was accepted or rejected.
    verdict: Decision | None = None
    #: How much higher the version is that is told than the row's own.
    raised: int = 0


def with_supersession(rows: QuerySet[InferenceRequest]) -> QuerySet[InferenceRequest]:
    """The same rows, each with what `supersession_of` says, in the same query."""
    holding = later_results().filter(withdrawn_at=None)
    newest = holding.order_by("-created_at", "-pk").values("pk")[:1]
    decided = Verdict.objects.filter(request=OuterRef("pk"), decision__in=sorted(DECIDING))
    return rows.annotate(
        supersession_raised=_raised(),
        supersession_newest=Subquery(newest),
        supersession_decision=Subquery(decided.order_by("-at", "-pk").values("decision")[:1]),
    )


def supersession_of(row: InferenceRequest) -> Supersession:
    """Of a row of `with_supersession`; another is looked up where it has a result."""
    if row.state != State.COMPLETED:
        return Supersession()
    if not hasattr(row, "supersession_raised"):
        row = with_supersession(InferenceRequest.objects.filter(pk=row.pk)).get()
    told = vars(row)
    decision = told["supersession_decision"]
    return Supersession(
        superseded_by=told["supersession_newest"],
        verdict=Decision(decision) if decision else None,
        raised=told["supersession_raised"],
    )


def published_versions(
    rows: QuerySet[InferenceRequest], newest: int | None = None
) -> dict[str, int]:
    """The version that is told of each of these requests, or of the first so many, by its id."""
    told = rows.annotate(told=F("version") + _raised()).values_list("pk", "told")
    return {str(key): version for key, version in told[:newest]}


def _raised() -> Case:
    # A later result that is withdrawn still counts, and once more: it must not fall.
    raised = (
        _count(later_results(), "study_id")
        + _count(later_results().filter(withdrawn_at__isnull=False), "study_id")
        + _count(Verdict.objects.filter(request=OuterRef("pk")), "request_id")
    )
    # The others are spared the look.
    return Case(
        When(state=State.COMPLETED, then=raised), default=Value(0), output_field=IntegerField()
    )


def _count(rows: QuerySet[InferenceRequest] | QuerySet[Verdict], by: str) -> Coalesce:
    # As SQL has it: one group, for all of these rows share the column.
    counted = rows.order_by().values(by).annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(counted), 0)
