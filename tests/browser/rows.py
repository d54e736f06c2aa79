"""Requests as labs leave them in the database, and what the site then tells a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.browser.conftest import ROLES, SLICES, StoredStudy
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView


def request_of(study: StoredStudy, state: str, **columns: Any) -> InferenceRequest:
    """A request of the study's four series."""
    return InferenceRequest.objects.create(
        pool="lab",
        model="breast_dce_phantom",
        study_id=study.study_id,
        study_uid="1.2",
        inputs=[
            {"role": role, "series_id": series, "series_uid": "1.2", "instance_count": SLICES}
            for role, series in zip(ROLES, study.series_ids, strict=True)
        ],
        deadline_s=60,
        state=state,
        **columns,
    )


def completed(study: StoredStudy, **columns: Any) -> InferenceRequest:
    """A request whose result is the study's segmentation."""
    return request_of(
        study,
        "completed",
        finished_at=datetime.now(UTC),
        lab="lab1",
        result={
            "seg_instance_id": study.seg_instance_id,
            "sr_instance_id": study.seg_instance_id,
            "tumor_detected": True,
            "volume_ml": 0.123,
            "volume_voxels": int(study.mask.sum()),
            "longest_diameter_mm": 7.25,
            "slices": SLICES,
            "slices_with_tumor": 2,
            "model": {"name": "breast_dce_phantom", "version": "1", "sha256": "ab" * 32},
            "stage_seconds": {"infer": 1.5},
        },
        **columns,
    )


def event(row: InferenceRequest, **changes: Any) -> dict[str, Any]:
    """The change of a request, as the socket tells it."""
    return {"type": "event", "request": RequestView.of(row).model_dump(mode="json") | changes}


def labs(*, online: bool, pool: str = "lab", condition: str = "serving") -> dict[str, Any]:
    """The only lab, as the socket tells of it."""
    lab = {"lab": "l", "pool": pool, "online": online, "device": "cpu", "condition": condition}
    return {"type": "lab", "labs": [lab]}
