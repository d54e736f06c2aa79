"""What the lab reads of Orthanc's index, from answers as Orthanc 1.10 gives them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from consumer.errors import ArchiveUnavailable, SeriesNotFound, TooLarge
from consumer.manual.facts import MAX_ASKED, examine
from consumer.orthanc.images import Images
from messages.phases.kind import LeftOut, kind_of
from messages.phases.parts import Unclear

SERIES = "01234567-01234567-01234567-01234567-01234567"
STUDY = {"MainDicomTags": {"StudyInstanceUID": "1.2.3"}}
MR = {
    "MainDicomTags": {
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "MR",
        "SeriesDescription": "t1_fl3d_dynaViews",
    }
}
HEAD = {
    "StudyDate": "20260102",
    "AcquisitionDate": "20260102",
    "ImageType": "ORIGINAL\\PRIMARY\\M",
    "Rows": "256",
    "Columns": "256",
    "PixelSpacing": "0.8\\0.8",
    "FrameOfReferenceUID": "1.2.3.9",
    "PatientName": "Nobody^At^All",
}


@contextmanager
def orthanc(answers: Mapping[str, Any], *, limit: int = 100) -> Iterator[tuple[Images, list[str]]]:
    """An archive that answers these paths with JSON and all others with 404."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = answers.get(self.path)
            body = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Images(url, "", "", max_images=limit), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def instance(place: int, number: int, **tags: str) -> dict[str, Any]:
    """As `/series/{id}/instances` lists it; `place` counts slices of 2 mm."""
    return {
        "ID": f"{number:08x}-01234567-01234567-01234567-01234567",
        "MainDicomTags": {
            "ImagePositionPatient": f"0\\0\\{2 * place}",
            "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
            "InstanceNumber": str(number),
            "SOPInstanceUID": f"1.2.3.4.{number}",
            **tags,
        },
    }


def paths(series: Any, instances: list[Any], tags: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"/series/{SERIES}": series,
        f"/series/{SERIES}/study": STUDY,
        f"/series/{SERIES}/instances": instances,
        **{f"/instances/{key}/simplified-tags": value for key, value in tags.items()},
    }


def test_phases_that_the_index_tells_apart_cost_one_call_a_phase() -> None:
    listed = [
        instance(place, 3 * phase + place + 1, TemporalPositionIdentifier=str(phase + 1))
        for phase in range(2)
        for place in range(3)
    ]
    tags = {
        listed[3 * phase]["ID"]: {**HEAD, "AcquisitionTime": f"10{phase}000"} for phase in range(2)
    }
    with orthanc(paths(MR, listed, tags)) as (images, asked):
        facts = examine(images, SERIES).facts
    assert [(p.keyword, p.value, p.image_count) for p in facts.phases] == [
        ("TemporalPositionIdentifier", "1", 3),
        ("TemporalPositionIdentifier", "2", 3),
    ]
    assert [p.acquired_at_s for p in facts.phases] == [36000.0, 36600.0]
    grid = facts.phases[0].grid
    assert grid is not None
    assert (grid.slices, grid.first, grid.last) == (3, (0.0, 0.0, 0.0), (0.0, 0.0, 4.0))
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "M")
    assert len(asked) == 5


def test_times_that_the_index_lacks_are_read_of_each_instance() -> None:
    listed = [instance(place, 2 * phase + place + 1) for phase in range(2) for place in range(2)]
    tags = {
        item["ID"]: {**HEAD, "AcquisitionTime": f"10{place // 2}000"}
        for place, item in enumerate(listed)
    }
    with orthanc(paths(MR, listed, tags)) as (images, _):
        examined = examine(images, SERIES)
    assert [(p.keyword, p.value) for p in examined.facts.phases] == [
        ("AcquisitionTime", "100000"),
        ("AcquisitionTime", "101000"),
    ]
    # Patient data is dropped where it comes in.
    assert "Nobody" not in repr(examined)


def test_an_acquisition_date_time_stands_for_date_and_time() -> None:
    listed = [instance(place, place + 1) for place in range(2)]
    tags = {
        listed[0]["ID"]: {"StudyDate": "20260102", "AcquisitionDateTime": "20260103000010+0900"}
    }
    with orthanc(paths(MR, listed, tags)) as (images, _):
        (phase,) = examine(images, SERIES).facts.phases
    assert phase.acquired_at_s == 24 * 3600 + 10


def frame(place: int, phase: int) -> dict[str, Any]:
    return {
        "PlanePositionSequence": [{"ImagePositionPatient": f"0\\0\\{2 * place}"}],
        "FrameContentSequence": [
            {
                "TemporalPositionIndex": str(phase + 1),
                "FrameAcquisitionDateTime": f"2026010210{phase}000.5",
            }
        ],
    }


def test_the_frames_of_enhanced_mr_are_images_of_their_own() -> None:
    listed = [instance(0, 1, NumberOfFrames="6", ImagePositionPatient="")]
    tags = {
        listed[0]["ID"]: {
            **HEAD,
            "SharedFunctionalGroupsSequence": [
                {
                    "PlaneOrientationSequence": [{"ImageOrientationPatient": "1\\0\\0\\0\\1\\0"}],
                    "PixelMeasuresSequence": [{"PixelSpacing": "0.7\\0.7"}],
                }
            ],
            "PerFrameFunctionalGroupsSequence": [
                frame(place, phase) for phase in range(2) for place in range(3)
            ],
        }
    }
    with orthanc(paths(MR, listed, tags)) as (images, _):
        facts = examine(images, SERIES).facts
    assert facts.instance_count == 1
    assert [(p.keyword, p.value, p.image_count) for p in facts.phases] == [
        ("TemporalPositionIndex", "1", 3),
        ("TemporalPositionIndex", "2", 3),
    ]
    assert [p.acquired_at_s for p in facts.phases] == [36000.5, 36600.5]
    grid = facts.phases[1].grid
    assert grid is not None
    assert grid.pixel_spacing == (0.7, 0.7)


def test_frames_of_several_kinds_are_not_taken_for_phases() -> None:
    listed = [instance(0, 1, NumberOfFrames="6")]
    del listed[0]["MainDicomTags"]["ImagePositionPatient"]
    groups = [
        {
            "PlanePositionSequence": [{"ImagePositionPatient": f"0\\0\\{place}"}],
            "FrameContentSequence": [{"TemporalPositionIndex": str(n)}],
            "MRImageFrameTypeSequence": [{"FrameType": f"{kind}\\PRIMARY\\DYNAMIC"}],
        }
        for n, kind in enumerate(("ORIGINAL", "ORIGINAL", "DERIVED"), 1)
        for place in range(2)
    ]
    tags = {listed[0]["ID"]: {**HEAD, "PerFrameFunctionalGroupsSequence": groups}}
    with orthanc(paths(MR, listed, tags)) as (images, _):
        facts = examine(images, SERIES).facts
    assert (facts.unclear, facts.phases) == (Unclear.SEVERAL_KINDS, ())
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "DYNAMIC")


def test_the_b_value_of_a_frame_shows_that_it_is_diffusion() -> None:
    listed = [instance(0, 1, NumberOfFrames="4", ImagePositionPatient="")]
    groups = [frame(place, phase) for phase in range(2) for place in range(2)]
    for group in groups:
        group["MRDiffusionSequence"] = [{"DiffusionBValue": "800"}]
    tags = {listed[0]["ID"]: {**HEAD, "PerFrameFunctionalGroupsSequence": groups}}
    with orthanc(paths(MR, listed, tags)) as (images, _):
        facts = examine(images, SERIES).facts
    assert kind_of(facts) is LeftOut.DIFFUSION


def test_a_position_that_no_scanner_reaches_is_none() -> None:
    listed = [instance(0, 1), instance(0, 2, ImagePositionPatient="1e308\\0\\0")]
    with orthanc(paths(MR, listed, {item["ID"]: HEAD for item in listed})) as (images, _):
        examined = examine(images, SERIES)
    assert examined.series.images[1].position is None
    assert examined.facts.unclear is Unclear.NO_POSITION


def test_nothing_is_read_of_what_is_no_mr() -> None:
    seg = {"MainDicomTags": {**MR["MainDicomTags"], "Modality": "SEG"}}
    listed = [instance(0, 1, NumberOfFrames="60")]
    with orthanc(paths(seg, listed, {})) as (images, asked):
        facts = examine(images, SERIES).facts
    assert facts.phases == ()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({}, SeriesNotFound),
        (paths(MR, [instance(0, 1)], {}), SeriesNotFound),
        (paths({}, [], {}), ArchiveUnavailable),
        (paths(MR, ["x"], {}), ArchiveUnavailable),
        (paths(b"<html>", [], {}), ArchiveUnavailable),
        (paths(MR, [instance(0, 1)], {instance(0, 1)["ID"]: ["x"]}), ArchiveUnavailable),
        (paths(MR, [{**instance(0, 1), "ID": "../system"}], {}), ArchiveUnavailable),
        (paths(MR, [instance(n, n) for n in range(101)], {}), TooLarge),
        (paths(MR, [instance(0, 1, NumberOfFrames="999999")], {}), TooLarge),
    ],
)
def test_what_the_archive_says_wrong_ends_in_its_code(
    answers: dict[str, Any], error: type[Exception]
) -> None:
    with orthanc(answers) as (images, _), pytest.raises(error) as caught:
        examine(images, SERIES)
    assert "Nobody" not in str(caught.value)


def test_too_many_images_are_counted_as_images_and_the_limit_is_named() -> None:
    listed = [instance(0, number, NumberOfFrames="33") for number in range(1, 21)]
    with (
        orthanc(paths(MR, listed, {}), limit=659) as (images, asked),
        pytest.raises(TooLarge, match="holds 660 images, and up to 659 are looked at"),
    ):
        examine(images, SERIES)
    assert len(asked) == 3


def test_more_instances_than_can_be_asked_one_by_one_are_refused_before_the_first() -> None:
    listed = [instance(0, number) for number in range(MAX_ASKED + 1)]
    with orthanc(paths(MR, listed, {}), limit=MAX_ASKED + 1) as (images, asked):
        with pytest.raises(TooLarge, match="more than 4000 instances"):
            examine(images, SERIES)
        assert len(asked) == 3


def test_what_is_no_orthanc_id_reaches_no_address() -> None:
    with orthanc({}) as (images, asked), pytest.raises(ValueError, match="not an Orthanc id"):
        examine(images, "../system")
    assert asked == []
