"""A small study with a stored result, and turns of the follower, on a real archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import md5
from typing import Any
from uuid import uuid4

import httpx
from django.utils import timezone

from infra.local.orthanc import OrthancNode
from messages import identity
from messages.input_digest import input_digest
from tests.dicom_factory import Series, part10
from tests.integration.lab import orthanc_post
from web.follower.turn import Pace, Turn, take_turn
from web.inference.models import InferenceRequest
from web.orthanc.archive import Orthanc

#: Nothing waits for its time.
AT_ONCE = Pace(turn_s=0.1, compare_again_s=0.0, look_again_s=0.0, series=500)


@dataclass
class Followed:
    """Two series, and a result that was computed from them."""

    archive: OrthancNode
    pre: Series = field(default_factory=lambda: Series(slices=4))
    post: Series = field(init=False)
    study_id: str = ""
    #: Orthanc's ids by SOP Instance UID.
    ids: dict[str, str] = field(default_factory=dict)
    #: By series UID.
    series_ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.post = Series(
            slices=self.pre.slices, study_uid=self.pre.study_uid, frame_uid=self.pre.frame_uid
        )
        for series in (self.pre, self.post):
            self.store(series)

    def store(self, series: Series, *numbers: int) -> None:
        """Store the series, or these instances of it."""
        for number in numbers or range(len(series.datasets)):
            ds = series.datasets[number]
            answer = orthanc_post(self.archive, "/instances", part10(ds))
            assert answer["Status"] == "Success"
            self.study_id = answer["ParentStudy"]
            self.ids[ds.SOPInstanceUID] = answer["ID"]
            self.series_ids[series.series_uid] = answer["ParentSeries"]

    def delete(self, path: str) -> None:
        auth = (self.archive.user, self.archive.password)
        httpx.delete(f"{self.archive.url}{path}", auth=auth).raise_for_status()

    def delete_instance(self, series: Series, number: int) -> None:
        self.delete(f"/instances/{self.ids[series.datasets[number].SOPInstanceUID]}")

    def result(self, *, stated: bool = True, **values: Any) -> InferenceRequest:
        """A completed request of both series, with its primary object in the archive."""
        request_id = values.pop("id", None) or uuid4()
        (primary,) = Series(
            slices=1,
            study_uid=self.pre.study_uid,
            series_uid=identity.primary_series_uid(request_id),
        ).datasets
        uid = identity.primary_instance_uid(request_id)
        primary.SOPInstanceUID = primary.file_meta.MediaStorageSOPInstanceUID = uid
        stored = orthanc_post(self.archive, "/instances", part10(primary))["ID"]
        self.ids[uid] = stored
        digest = input_digest(
            (str(ds.SOPInstanceUID), md5(part10(ds), usedforsecurity=False).hexdigest())
            for series in (self.pre, self.post)
            for ds in series.datasets
        )
        result = {
            "seg_instance_id": stored,
            "sr_instance_id": stored,
            "tumor_detected": True,
            "volume_ml": 1.0,
            "volume_voxels": 10,
            "longest_diameter_mm": 9.0,
            "slices": 4,
            "slices_with_tumor": 2,
            "model": {"name": "breast_dce_phantom", "version": "1", "sha256": "0" * 64},
            "input_sha256": digest if stated else None,
            "stage_seconds": {},
        }
        return InferenceRequest.objects.create(
            id=request_id,
            pool="lab",
            model="breast_dce_phantom",
            study_id=self.study_id,
            inputs=[
                {
                    "role": role,
                    "series_id": self.series_ids[series.series_uid],
                    "series_uid": series.series_uid,
                    "instance_count": len(series.datasets),
                }
                for role, series in (("pre", self.pre), ("post1", self.post))
            ],
            deadline_s=60,
            **{
                "study_uid": self.pre.study_uid,
                "state": "completed",
                "finished_at": timezone.now(),
                "result": result,
                **values,
            },
        )


def client(archive: OrthancNode) -> Orthanc:
    return Orthanc(archive.url, archive.user, archive.password)


def follow(archive: OrthancNode, pace: Pace = AT_ONCE) -> list[Turn]:
    """Take turns until there is nothing more to read."""
    source = client(archive)
    try:
        turns = [take_turn(pace, source)]
        while turns[-1].more:
            turns.append(take_turn(pace, source))
        # What the last sweep has marked.
        turns.append(take_turn(pace, source))
    finally:
        source.close()
    return turns


def states(row: InferenceRequest) -> tuple[str, str]:
    row.refresh_from_db()
    return str(row.input_state), str(row.result_state)
