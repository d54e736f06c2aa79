"""What was never told of a request is told from the archive, as it is. Synchronous."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone
from pydantic import TypeAdapter

from messages.envelope import MAX_INTEGER
from messages.events import InferenceCompleted
from messages.request import InputSeries
from web.archive.errors import UnreadableResult
from web.archive.orthanc import archive
from web.archive.stored_result import Asked, StoredResult, stored_result
from web.inference.models import InferenceRequest
from web.inference.record import record
from web.inference.states import ACTIVE

log = structlog.get_logger(__name__)

_INPUTS: TypeAdapter[tuple[InputSeries, ...]] = TypeAdapter(tuple[InputSeries, ...])

#: In the place of the lab, for a request of which no lab was ever heard.
ARCHIVE = "archive"


def look(request_id: UUID) -> StoredResult | None:
    """The whole result of the request as the archive holds it; None when there is none to tell.

    Not inside a transaction: it speaks with the archive. Raises `ArchiveUnavailable`.
    """
    row = InferenceRequest.objects.filter(pk=request_id).first()
    if row is None or row.state not in ACTIVE:
        return None
    asked = Asked(row.pk, row.study_id, row.study_uid, _INPUTS.validate_python(row.inputs))
    try:
        return stored_result(asked, archive())
    except UnreadableResult as exc:
        log.warning("stored_result_unreadable", request_id=str(row.pk), detail=str(exc))
        return None


def tell(request_id: UUID, result: StoredResult) -> bool:
    """Complete the request with what the archive holds, unless it has ended meanwhile."""
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=request_id).first()
        if row is None or row.state not in ACTIVE or not record(row.pk, _completed(row, result)):
            return False
    log.warning("completed_told_from_archive", request_id=str(row.pk), was=row.state)
    return True


def _completed(row: InferenceRequest, result: StoredResult) -> InferenceCompleted:
    """The event that did not come: the next one of the run that was heard of last."""
    figures = {**asdict(result), "model": result.model}
    return InferenceCompleted(
        request_id=row.pk,
        attempt=row.attempt,
        delivery=row.delivery,
        sequence=min(row.sequence + 1, MAX_INTEGER),
        lab=row.lab or ARCHIVE,
        # When it was stored is not known; this is when it was found.
        at=timezone.now(),
        # How long its stages took was told to nobody.
        stage_seconds={},
        **figures,
    )
