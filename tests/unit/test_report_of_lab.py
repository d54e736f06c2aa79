"""The site tells of a result's details what the lab measured: both ends, on the same objects."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from consumer.memory import MemoryFile
from messages import identity
from tests.dicom_factory import Series, index, spec
from tests.unit.test_stored_result import lab_work, result_spec
from web.results.report_details import ReadReport, WashOut, read_report
from web.results.report_origin import ReportedPhase

SHAPE = (6, 8, 10)

#: Of the larger lesion and of the smaller one, in each phase; over a background of 100.
SIGNALS = {"pre": (200, 150), "post1": (400, 300), "post2": (350, 330), "last": (300, 390)}

TIMES = {"pre": "101500", "post1": "101630", "post2": "101800", "last": "102100"}


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


def two_lesions() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 3:6, 4:9] = 1
    mask[4:6, 0:2, 0:2] = 1
    return mask


def four_phases() -> dict[str, Series]:
    large, small = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    large[1:3, 3:6, 4:9] = True
    small[4:6, 0:2, 0:2] = True
    made: dict[str, Series] = {}
    for role, (first, second) in SIGNALS.items():
        pixels = np.full(SHAPE, 100, np.uint16)
        pixels[large], pixels[small] = first, second
        # Or the larger lesion would be the brightest there is, and so perhaps cut off.
        pixels[1, 0, 0] = 1000
        same = (
            {"study_uid": made["pre"].study_uid, "frame_uid": made["pre"].frame_uid} if made else {}
        )
        made[role] = Series(pixels=pixels, time=TIMES[role], **same)
    return made


def told_of(report: bytes) -> ReadReport:
    return read_report(dcmread(BytesIO(report)))


def test_each_lesion_is_told_as_the_lab_measured_it(memory):
    series = four_phases()
    source = index(memory, **series)
    made_by = result_spec(
        weights_sha256=(("models/model.pt", "cd" * 32),), device="cuda:0", min_lesion_mm3=1.0
    )
    _primary, measured = lab_work(source, two_lesions(), made_by)
    told = told_of(measured.report)

    assert told.tumor_detected
    assert told.verification == "UNVERIFIED"
    assert told.volume_ml == pytest.approx(measured.figures.volume_ml, abs=1e-4)
    assert told.longest_diameter_mm == pytest.approx(
        measured.figures.longest_diameter_mm, abs=0.005
    )
    assert told.lesions is not None
    large, small = told.lesions
    assert large.volume_ml > small.volume_ml
    assert large.volume_ml + small.volume_ml == pytest.approx(told.volume_ml, abs=2e-4)
    assert large.longest_diameter_mm == told.longest_diameter_mm
    assert 0 < large.longest_in_plane_mm <= large.longest_diameter_mm
    assert (large.number, small.number) == (1, 2)

    curve = large.kinetics
    assert [point.role for point in curve.points] == list(SIGNALS)
    assert [point.mean for point in curve.points] == [200, 400, 350, 300]
    assert [point.seconds for point in curve.points] == [0, 90, 180, 360]
    assert curve.wash_in_percent == 100
    assert curve.wash_out is WashOut.WASHOUT
    assert small.kinetics.wash_out is WashOut.PERSISTENT
    assert small.kinetics.wash_in_percent == 100

    origin = told.origin
    assert (origin.model, origin.version) == ("breast-dce-phantom", "0.1.0")
    assert origin.bundle_sha256 == "ab" * 32
    assert origin.weights_sha256 == (("models/model.pt", "cd" * 32),)
    assert origin.phases == tuple(
        ReportedPhase(role, str(one.series_uid), "") for role, one in series.items()
    )
    assert (origin.lab, origin.device, origin.smallest_mm3) == ("lab-1", "cuda:0", "1")
    assert datetime.fromisoformat(origin.created).tzinfo is not None
    assert origin.notice == made_by.notice


def test_where_nothing_was_found_the_origin_is_told_all_the_same(memory):
    source = index(memory, **four_phases())
    primary, _measured = lab_work(source, np.zeros(SHAPE, np.uint8), result_spec())
    told = told_of(primary)
    assert (told.tumor_detected, told.lesions, told.left_out) == (False, (), 0)
    assert [phase.role for phase in told.origin.phases] == list(SIGNALS)
    assert told.origin.created


def test_marks_that_are_too_small_are_counted_and_not_told_as_lesions(memory):
    source = index(memory, **four_phases())
    made_by = result_spec(min_lesion_mm3=1e6)
    primary, _measured = lab_work(source, two_lesions(), made_by)
    told = told_of(primary)
    assert (told.tumor_detected, told.lesions, told.left_out) == (False, (), 2)


def test_the_older_report_is_named_as_the_predecessor(memory):
    source = index(memory, **four_phases())
    older = "7d0c1f9e-9a4c-4f25-9d2e-1d1a6b8f0c11"
    first = spec(
        request_id=older,
        report_series_uid=identity.report_series_uid(older),
        report_instance_uid=identity.report_instance_uid(older),
    )
    _primary, earlier = lab_work(source, two_lesions(), first)
    _primary, measured = lab_work(source, two_lesions(), result_spec(predecessor=earlier.report))
    assert told_of(measured.report).predecessor_uid == identity.report_instance_uid(older)
