"""Requests that are held until the images of their series have all arrived. Synchronous.

The archive is asked for all of them at once which of their series still grow. A request of which
none does is looked up and checked again exactly as at its click, with what is there by now, and
sent with these numbers; or it ends with the code of what speaks against it. Each decision is taken
under the row's lock: two processes that find the same send it once.

An archive that does not answer says nothing: the request stays held.

Where the settings no longer let requests wait, what is held is released with what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone, translation
from pydantic import TypeAdapter, ValidationError

from messages.failures import FailureCode
from messages.request import InputSeries
from web.inference import outbox
from web.inference.fingerprint import fingerprint_of
from web.inference.model_of_request import model_of
from web.inference.models import InferenceRequest
from web.inference.record import record
from web.inference.states import State
from web.inference.triggers import Released, ReleaseRefused
from web.orthanc.archive import Orthanc, archive
from web.orthanc.errors import ArchiveUnavailable
from web.orthanc.time_budget import within
from web.phases.arriving import arriving_among
from web.phases.choice import from_archive
from web.phases.chosen import Selection
from web.reconciler.unfinished import unfinished
from web.refusals import NotAsked, NotNow

log = structlog.get_logger(__name__)

_INPUTS: TypeAdapter[tuple[InputSeries, ...]] = TypeAdapter(tuple[InputSeries, ...])

#: What a lab would say where a click is refused with a word of the site's own.
_CODES = {
    "study_not_found": FailureCode.SERIES_NOT_FOUND,
    # What was one phase when it was chosen is several now, or the chosen one is not there: the
    # reader has to look again, and choose.
    "several_phases": FailureCode.SERIES_CHANGED,
    "phase_not_found": FailureCode.SERIES_CHANGED,
    "same_series_twice": FailureCode.WRONG_PHASE_COUNT,
    "phases_unclear": FailureCode.GEOMETRY_MISMATCH,
}

#: Characters of `InferenceRequest.failure_detail`.
_DETAIL = 500


@dataclass(frozen=True)
class Finding:
    """What the archive holds of a held request's choice: `inputs`, or why there are none."""

    inputs: tuple[InputSeries, ...] = ()
    code: FailureCode | None = None
    #: For an operator, in English.
    detail: str = ""


def whole(orthanc: Orthanc | None = None) -> list[UUID]:
    """Held requests of which no chosen series grows any more, oldest first.

    All of them where the settings let none wait. Not inside a transaction: it speaks with the
    archive. Raises `ArchiveUnavailable`.
    """
    chosen = dict(_held().order_by("created_at").values_list("pk", "inputs"))
    if not settings.SITE.wait_for_whole_series:
        # Made before that was set. A click for the same joins them: they would never be sent.
        return list(chosen)
    series = {pk: _series_of(inputs) for pk, inputs in chosen.items()}
    with within():
        growing = arriving_among(orthanc or archive(), set().union(*series.values()))
    return [pk for pk, ids in series.items() if not ids & growing]


def look(request_id: UUID, orthanc: Orthanc | None = None) -> Finding | None:
    """The choice of a held request as it is now; None while it waits for what may still come.

    Not inside a transaction: it speaks with the archive. Raises `ArchiveUnavailable`.
    """
    row = _held().filter(pk=request_id).first()
    if row is None:
        return None
    inputs = _INPUTS.validate_python(row.inputs)
    chosen = [Selection(item.role, item.series_id, item.phase_selector) for item in inputs]
    waits = settings.SITE.wait_for_whole_series
    try:
        # Its sentences are an operator's here.
        with translation.override("en"):
            found = from_archive(
                orthanc or archive(), model_of(row), row.study_id, chosen, waits=waits
            )
    except NotAsked as refusal:
        return Finding(code=_code(refusal), detail=_text(refusal))
    except NotNow as exc:
        raise ArchiveUnavailable("Orthanc does not say what a held request chose") from exc
    return None if waits and found.arriving else Finding(found.inputs)


def release(request_id: UUID, finding: Finding) -> bool:
    """Send the request with what was found, or end it, unless that is done or it is cancelled."""
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=request_id).first()
        if row is None or row.state != State.QUEUED or not row.held_for:
            return False
        if finding.code is not None:
            refused = ReleaseRefused(at=timezone.now(), code=finding.code, detail=finding.detail)
            return record(row.pk, refused)
        row.inputs = [item.model_dump(mode="json", exclude_none=True) for item in finding.inputs]
        row.save(update_fields=["inputs"])
        _name_anew(row)
        if not record(row.pk, Released(at=timezone.now())):
            return False
        row.refresh_from_db()
        outbox.release(row)
    counts = [item.instance_count for item in finding.inputs]
    log.info("request_released", request_id=str(row.pk), instance_counts=counts)
    return True


def _held() -> QuerySet[InferenceRequest]:
    return unfinished().filter(state=State.QUEUED).exclude(held_for="")


def _series_of(inputs: object) -> set[str]:
    try:
        return {item.series_id for item in _INPUTS.validate_python(inputs)}
    except ValidationError:
        # Its own look says so, and keeps no other from its turn.
        return set()


def _name_anew(row: InferenceRequest) -> None:
    """A phase may have been named in other words than the archive has for it."""
    wish = fingerprint_of(outbox.message_of(row), row.study_id)
    try:
        with transaction.atomic():
            InferenceRequest.objects.filter(pk=row.pk).update(wish=wish)
    except IntegrityError:
        # In these words it was asked for meanwhile. Both are right, and each has its reader.
        log.info("held_request_is_double", request_id=str(row.pk))


def _code(refusal: NotAsked) -> FailureCode:
    if (known := _CODES.get(refusal.code)) is not None:
        return known
    if refusal.code in set(FailureCode):
        return FailureCode(refusal.code)
    log.error("refusal_without_a_code", refusal=refusal.code)
    return FailureCode.SERIES_CHANGED


def _text(refusal: NotAsked) -> str:
    with translation.override("en"):
        return str(refusal.message)[:_DETAIL]
