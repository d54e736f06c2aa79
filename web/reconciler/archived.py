"""What was never told of a request is told from the archive, as it is. Synchronous."""

from __future__ import annotations

from uuid import UUID

import structlog

from web.confirming import look as confirming
from web.confirming.look import StoredObjects
from web.inference.models import InferenceRequest
from web.inference.states import ACTIVE

log = structlog.get_logger(__name__)


def whole_result(request_id: UUID) -> StoredObjects | None:
    """The whole result of the request as the archive holds it; None when there is none to tell.

    Not inside a transaction: it speaks with the archive. Raises `ArchiveError`.
    """
    row = InferenceRequest.objects.filter(pk=request_id).first()
    if row is None or row.state not in ACTIVE:
        return None
    found = confirming.look_for(row)
    return found if found.figures is not None else None


def hands_out_images(request_id: UUID) -> bool:
    """Whether the archive hands out the images of the request, at whose result it failed."""
    row = InferenceRequest.objects.filter(pk=request_id).first()
    return row is not None and confirming.hands_out_images(row)


def record_found(request_id: UUID, found: StoredObjects) -> list[UUID]:
    """Complete the request with what the archive holds, unless it has ended meanwhile."""
    was = InferenceRequest.objects.filter(pk=request_id).values_list("state", flat=True).first()
    if was not in ACTIVE:
        return []
    changed = confirming.record_stored(request_id, found)
    if changed:
        log.warning("completed_told_from_archive", request_id=str(request_id), was=was)
    return changed
