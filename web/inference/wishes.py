"""What is asked for, as one value: while a request for it is active, the same wish is that one."""

from __future__ import annotations

import hashlib
import json

from messages.request import InferenceRequested
from web.inference.models import InferenceRequest
from web.inference.states import ACTIVE


def wish_of(message: InferenceRequested, study_id: str) -> str:
    """SHA-256 in hex of pool, study (Orthanc's id), inputs, model and threshold.

    Not of the instance counts: a series that still grows is the same wish. The order of the
    inputs does not matter, since each role is given once.
    """
    inputs = [
        item.model_dump(include={"role", "series_id", "series_uid", "phase_selector"})
        for item in sorted(message.inputs, key=lambda item: item.role)
    ]
    wish = {
        "pool": message.pool,
        "study_id": study_id,
        "inputs": inputs,
        "model": message.model,
        "threshold": message.threshold,
    }
    canonical = json.dumps(wish, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def active_request(wish: str) -> InferenceRequest | None:
    """The request that the wish is by now; at most one, by ``one_active_request_a_wish``."""
    return InferenceRequest.objects.filter(wish=wish, state__in=sorted(ACTIVE)).first()
