"""The same request under its next attempt: after it was lost on its way, or by staff."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from web.inference.models import InferenceRequest
from web.inference.outbox import enqueue_request, take_back
from web.inference.record import record
from web.inference.triggers import SentAgain


def send_again(request_id: UUID, *, by_staff: bool = False) -> bool:
    """Write the next attempt down with its message; False when its state does not allow it.

    By staff only from `dead`, otherwise only while the request is active. Raises
    `django.db.IntegrityError` when another request for the same is active by now.
    """
    with transaction.atomic():
        if not record(request_id, SentAgain(at=timezone.now(), by_staff=by_staff)):
            return False
        row = InferenceRequest.objects.get(pk=request_id)
        take_back(row)
        enqueue_request(row)
    return True
