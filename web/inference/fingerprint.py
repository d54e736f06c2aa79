"""What is asked for, as one value: while a request of it is active, the same is that request."""

from __future__ import annotations

import hashlib
import json

from messages.request import InferenceRequested
from web.inference.models import InferenceRequest
from web.inference.states import ACTIVE


def fingerprint_of(message: InferenceRequested, study_id: str) -> str:
    """SHA-256 in hex of pool, study (Orthanc's id), inputs, model and threshold.

    Not of the instance counts: a series that still grows is the same fingerprint. The order of the
    inputs does not matter, since each role is given once.
    """
    inputs = [
        item.model_dump(include={"role", "series_id", "series_uid", "phase_selector"})
        for item in sorted(message.inputs, key=lambda item: item.role)
    ]
    fingerprint = {
        "pool": message.pool,
        "study_id": study_id,
        "inputs": inputs,
        "model": message.model,
        "threshold": message.threshold,
    }
    canonical = json.dumps(fingerprint, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def active_request(fingerprint: str) -> InferenceRequest | None:
    """The active request of this fingerprint; at most one, by ``one_active_request_a_wish``."""
    return InferenceRequest.objects.filter(wish=fingerprint, state__in=sorted(ACTIVE)).first()
