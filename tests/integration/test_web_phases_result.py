"""A result over phases of one series, made with the lab's own code: outline, masks, figures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from django.test import Client
from PIL import Image

from consumer.children import reader as lab_reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, Measured
from infra.local.orthanc import OrthancNode
from messages import identity
from messages.phases import DCE_ROLES
from messages.request import InputSeries, PhaseSelector
from tests.dicom_factory import part10, place, spec
from tests.enhanced_factory import enhanced
from tests.integration.phased import (
    COLUMNS,
    ROWS,
    SLICES,
    by_keyword,
    by_trigger,
    four_phases,
    merged,
    stored,
)
from tests.site import reader_of, use_archive
from web.inference.models import InferenceRequest
from web.orthanc.archive import archive
from web.results.outline import outline_path
from web.results.stored_result import Asked, stored_result

pytestmark = pytest.mark.django_db(transaction=True)

KEYWORDS = ("TemporalPositionIdentifier", "TriggerTime", "TemporalPositionIndex")


@dataclass(frozen=True)
class Analysed:
    """A study with its result in the archive."""

    row: InferenceRequest
    mask: np.ndarray
    told: Measured
    inputs: tuple[InputSeries, ...]
    #: Of the phase that the SEG refers to.
    place: int


def files_and_values(keyword: str) -> tuple[tuple[Any, ...], list[bytes], list[str]]:
    """Four phases in one series: as they were made, as files, and the value of each."""
    phases = four_phases()
    match keyword:
        case "TemporalPositionIndex":
            order = [(phase, at) for at in range(SLICES) for phase in range(4)]
            return phases, [part10(enhanced(phases, order=order))], ["1", "2", "3", "4"]
        case "TriggerTime":
            merged(phases, by_trigger)
            values = ["0", "95000", "190000", "285000"]
        case _:
            merged(phases, lambda ds, number: by_keyword(keyword, ds, number))
            values = ["1", "2", "3", "4"]
    return phases, [file for phase in phases for file in phase.files()], values


#: Of now, which refer to the first phase after contrast, and of earlier versions.
@pytest.fixture(params=[*((keyword, "post1") for keyword in KEYWORDS), (KEYWORDS[0], "pre")])
def analysed(request: pytest.FixtureRequest, orthanc: OrthancNode, settings: Any) -> Analysed:
    use_archive(settings, orthanc)
    (keyword, referred), request_id = request.param, uuid4()
    phases, files, values = files_and_values(keyword)
    study = stored(orthanc, phases, files)
    mask = np.zeros((SLICES, ROWS, COLUMNS), dtype=np.uint8)
    mask[1, 3:8, 4:9] = 1
    mask[3, 6:9, 2:12] = 1
    made_by = spec(
        request_id=str(request_id),
        primary_series_uid=identity.primary_series_uid(request_id),
        primary_instance_uid=identity.primary_instance_uid(request_id),
        report_series_uid=identity.report_series_uid(request_id),
        report_instance_uid=identity.report_instance_uid(request_id),
        reading_phase=referred,
    )
    study_uid, series_uid = (str(getattr(phases[0], name)) for name in ("study_uid", "series_uid"))
    if keyword != "TemporalPositionIndex":
        series_uid = str(phases[0].datasets[0].SeriesInstanceUID)
    with MemoryFile() as memory, MemoryFile() as mask_memory:
        mask_memory.write(mask.tobytes())
        source = DownloadIndex(
            study_uid,
            tuple(
                place(memory, files, role, series_uid, selector=(keyword, value))
                for role, value in zip(DCE_ROLES, values, strict=True)
            ),
        )
        primary = lab_reader.package(source, mask_memory.path, mask.shape, made_by).dicom_bytes
        told = lab_reader.measure_stored(primary, source, made_by)
    assert told.report is not None
    inputs = tuple(
        InputSeries(
            role=role,
            series_id=study.series_ids[0],
            series_uid=series_uid,
            instance_count=len(files),
            phase_selector=PhaseSelector(keyword=keyword, value=value),
        )
        for role, value in zip(DCE_ROLES, values, strict=True)
    )
    with httpx.Client(base_url=orthanc.url, auth=(orthanc.user, orthanc.password)) as client:
        ids = [
            client.post("/instances", content=one).json()["ID"] for one in (primary, told.report)
        ]
    row = InferenceRequest.objects.create(
        id=request_id,
        pool="lab",
        model="breast_dce_phantom",
        study_id=study.study_id,
        study_uid=study_uid,
        inputs=[item.model_dump(mode="json", exclude_none=True) for item in inputs],
        deadline_s=60,
        state="completed",
        finished_at=datetime.now(UTC),
        result={"seg_instance_id": ids[0], "sr_instance_id": ids[1]},
    )
    return Analysed(row, mask.astype(bool), told, inputs, DCE_ROLES.index(referred))


@pytest.fixture
def reader() -> Client:
    client = Client()
    client.force_login(reader_of())
    return client


def test_the_outline_lies_on_the_slices_of_the_phase_that_the_result_refers_to(
    reader: Client, analysed: Analysed
) -> None:
    shown = reader.get(f"/requests/{analysed.row.pk}/overlay.json").json()
    assert shown["slices"] == SLICES
    assert {int(i): path for i, path in shown["outlines"].items()} == {
        index: outline_path(analysed.mask[index]) for index in (1, 3)
    }
    names = [
        f"{item.series_id}:{item.phase_selector.keyword}:{item.phase_selector.value}"
        for item in analysed.inputs
        if item.phase_selector
    ]
    assert shown["phase"] == names[analysed.place]
    assert shown["orders"] == {name: list(range(SLICES)) for name in names}
    assert shown["counts"] == dict.fromkeys(names, SLICES)


def test_the_stored_result_has_the_slices_of_one_phase(analysed: Analysed) -> None:
    row = analysed.row
    model = analysed.told.model.name
    asked = Asked(row.pk, row.study_id, row.study_uid, analysed.inputs, model)
    read = stored_result(asked, archive())
    assert read is not None
    assert (read.slices, read.slices_with_tumor) == (SLICES, 2)
    assert read.slices == analysed.told.figures.slices
    assert read.volume_voxels == int(analysed.mask.sum())


def test_the_old_frames_call_gives_one_mask_for_each_image_of_the_series(
    reader: Client, analysed: Analysed
) -> None:
    seg = analysed.row.result["seg_instance_id"]
    told = reader.get(f"/api/mri/segmentation/instances/{seg}/frames/").json()
    masks = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(frame["mask_base64"])))) > 0
        for frame in told["frames"]
    ]
    # The phases of a slice follow each other in the series, and the mask is the first one's,
    # whichever the SEG refers to.
    assert told["num_frames"] == len(masks) == 4 * SLICES
    for index, found in enumerate(masks):
        expected = analysed.mask[index // 4] if index % 4 == 0 else np.zeros((ROWS, COLUMNS), bool)
        assert np.array_equal(found, expected)
