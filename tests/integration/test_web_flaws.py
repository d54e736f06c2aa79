"""Images that are no volume, as a real archive tells them: private and absent elements, pixels."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from consumer.errors import LabError
from consumer.manual.choice import choose
from consumer.manual.facts import examine
from consumer.orthanc.images import Images
from infra.local.orthanc import OrthancNode
from tests.dicom_factory import Series
from tests.integration.phased import four_phases, stored
from tests.integration.test_web_api import ask, error_of
from tests.site import reader_of, use_archive

pytestmark = pytest.mark.django_db(transaction=True)


def small_mosaic(series: Series) -> None:
    """Four slices in one frame, and only a private element says so; more of them come behind it."""
    for ds in series.datasets:
        ds.AcquisitionMatrix = [8, 0, 0, 8]
        ds.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        ds.add_new(0x0019100A, "US", 4)
        ds.add_new(0x00191018, "IS", "4400")
        ds.add_new(0x00510010, "LO", "SIEMENS MR HEADER")
        ds.add_new(0x00511016, "LO", "p2 M/ND")


def without(keyword: str, series: Series) -> None:
    for ds in series.datasets:
        del ds[keyword]


#: What is done to a series beside a good run; the code, and what each sentence names.
FLAWED = (
    (small_mosaic, "unsupported_image", "mosaic"),
    (lambda one: without("FrameOfReferenceUID", one), "missing_attribute", "FrameOfReferenceUID"),
    (lambda one: without("PixelData", one), "missing_attribute", "pixels"),
)


def test_what_is_no_volume_is_left_out_and_refused_by_name_before_anything_is_sent(
    orthanc: OrthancNode, settings: Any
) -> None:
    phases = four_phases()
    flawed = [
        Series(slices=4, rows=16, columns=16, study_uid=phases[0].study_uid, time="100000")
        for _ in FLAWED
    ]
    for (change, _, _), series in zip(FLAWED, flawed, strict=True):
        change(series)
    study = stored(orthanc, (*phases, *flawed))
    good, bad = study.series_ids[:4], study.series_ids[4:]
    use_archive(settings, orthanc)
    client = Client(raise_request_exception=False)
    client.force_login(reader_of())

    with translation.override("en"):
        made = client.get(f"/api/v1/studies/{study.study_id}/phases").json()

    assert made["problem"] is None
    assert [one["series_id"] for one in made["phases"]] == list(good)
    reasons = {one["series_id"]: one["reason"] for one in made["left_out"]}
    by_hand = Images(orthanc.url, orthanc.user, orthanc.password)
    for series_id, (_, code, named) in zip(bad, FLAWED, strict=True):
        assert named in reasons[series_id]
        roles = zip(("pre", "post1", "post2", "last"), (series_id, *good[1:]), strict=True)
        inputs = [{"role": role, "series_id": one, "phase": None} for role, one in roles]
        with translation.override("en"):
            answer = ask(client, {"study_id": study.study_id, "inputs": inputs})
        assert (answer.status_code, error_of(answer)["code"]) == (422, code)
        assert named in error_of(answer)["message"]
        with pytest.raises(LabError) as caught:
            choose([examine(by_hand, series_id)], ("image",), ())
        assert caught.value.code == code
        assert named in caught.value.detail
