"""Which result replaces which: of the same study and model, the one that was asked for last.

Nothing of it is stored. A request that completes late could otherwise miss one that completes in
the same moment, and a mark in another request's row would need that row's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet

from web.inference.models import InferenceRequest
from web.inference.states import State

#: Open pages of older results that are told at once; the others learn of it at the next look.
_NOTIFIED = 50


def later_results() -> QuerySet[InferenceRequest]:
    """For a subquery: the results that came after the outer request's, in no order.

    Withdrawn ones as well: those replace nothing.
    """
    return _results_of(OuterRef("study_id"), OuterRef("model")).filter(
        Q(created_at__gt=OuterRef("created_at"))
        | Q(created_at=OuterRef("created_at"), pk__gt=OuterRef("pk"))
    )


def superseded_by(row: InferenceRequest) -> UUID | None:
    """The latest result that was there before this request: the one that its own will replace.

    One that was withdrawn is no result that a report could follow upon.
    """
    return results_before(row).filter(withdrawn_at=None).first()


def number_in_study(row: InferenceRequest) -> int:
    """Which request of its study it is, from 1, of whatever model and end.

    So it is the same whenever it is asked for: what was there before stays there.
    """
    return InferenceRequest.objects.filter(_before(row), study_id=row.study_id).count() + 1


def results_before(row: InferenceRequest) -> QuerySet[InferenceRequest, UUID]:
    """The requests whose results the row's replaces, the latest first: their ids."""
    results = _results_of(row.study_id, row.model).filter(_before(row))
    return results.order_by("-created_at", "-pk").values_list("pk", flat=True)


def with_superseded(request_ids: Iterable[UUID]) -> list[UUID]:
    """These requests, which have completed, and those whose results they replace."""
    found = list(dict.fromkeys(request_ids))
    for row in InferenceRequest.objects.filter(pk__in=found, state=State.COMPLETED):
        found += results_before(row)[:_NOTIFIED]
    return list(dict.fromkeys(found))


def _before(row: InferenceRequest) -> Q:
    return Q(created_at__lt=row.created_at) | Q(created_at=row.created_at, pk__lt=row.pk)


def _results_of(study_id: object, model: object) -> QuerySet[InferenceRequest]:
    return InferenceRequest.objects.filter(study_id=study_id, model=model, state=State.COMPLETED)
