"""Results of the version before, which knew no lesions: site and lab read them.

`tests/older_results` was written by version 0.1.0 before a lesion had a segment of its own: a SEG
of one segment with three marks, its report, and the report of a request that found nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from consumer.children import reader
from consumer.children.reference_phase import place_referred
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, ResultSpec
from messages import identity
from tests.dicom_factory import Series, index, oblique, spec
from tests.unit.test_result_objects import lab_work, parsed
from tests.unit.test_stored_result import Shelf, asked_for, orthanc_id
from web.results.report_details import Laterality, read_report
from web.results.stored_result import Asked, stored_result

FOLDER = Path(__file__).parents[1] / "older_results"
FOUND = UUID("0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c11")
NOTHING = UUID("0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c12")

#: What that version told of its SEG.
VOXELS, VOLUME_ML, DIAMETER_MM = 34, 0.0408, 6.043178


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.dcm").read_bytes()


def made_by(request_id: UUID, **changes: object) -> ResultSpec:
    return spec(
        request_id=str(request_id),
        primary_series_uid=identity.primary_series_uid(request_id),
        primary_instance_uid=identity.primary_instance_uid(request_id),
        report_series_uid=identity.report_series_uid(request_id),
        report_instance_uid=identity.report_instance_uid(request_id),
        **changes,
    )


@pytest.fixture
def source():
    """The phases of which they were made."""
    series = {
        role: Series(
            study_uid="2.25.700",
            series_uid=f"2.25.71{place}",
            frame_uid="2.25.702",
            time=f"10150{place}",
            orientation=oblique(),
        )
        for place, role in enumerate(("pre", "post1", "post2", "last"))
    }
    with MemoryFile() as memory:
        yield index(memory, **series)


def asked(source: DownloadIndex, request_id: UUID) -> Asked:
    return replace(asked_for(source), request_id=request_id)


def test_the_site_tells_an_older_result_as_its_lab_told_it(source):
    shelf = Shelf(seg=stored("segmentation"), sr=stored("measurements"))
    read = stored_result(asked(source, FOUND), shelf.orthanc(source.study_uid))

    assert read is not None
    assert (read.seg_instance_id, read.sr_instance_id) == (orthanc_id("seg"), orthanc_id("sr"))
    assert read.volume_voxels == VOXELS
    assert read.volume_ml == pytest.approx(VOLUME_ML, rel=1e-5)
    assert read.longest_diameter_mm == pytest.approx(DIAMETER_MM, abs=0.005)
    assert (read.slices, read.slices_with_tumor) == (6, 4)


def test_the_site_tells_that_an_older_result_found_nothing(source):
    shelf = Shelf(primary=stored("nothing-found"))
    read = stored_result(asked(source, NOTHING), shelf.orthanc(source.study_uid))
    assert read is not None
    assert not read.tumor_detected
    assert read.slices == 6


def test_the_page_reads_of_an_older_report_what_it_states():
    told = read_report(parsed(stored("measurements")))
    assert told.tumor_detected
    assert told.lesions is None
    assert told.volume_ml == pytest.approx(VOLUME_ML, abs=1e-4)
    assert [phase.role for phase in told.origin.phases] == ["pre", "post1", "post2", "last"]
    assert not read_report(parsed(stored("nothing-found"))).tumor_detected


def test_a_lab_of_now_reports_on_an_older_segmentation_lesion_by_lesion(source):
    measured = reader.measure_stored(stored("segmentation"), source, made_by(FOUND))
    told = read_report(parsed(measured.report))

    # It refers to the first phase, and its report measures there.
    assert place_referred(parsed(stored("segmentation")), source) == 0
    assert told.lesions is not None
    assert {one.laterality for one in told.lesions} == {Laterality.NOT_DETERMINED}
    assert measured.figures.volume_voxels == VOXELS
    assert measured.figures.volume_ml == pytest.approx(VOLUME_ML, rel=1e-5)
    assert measured.figures.longest_diameter_mm == pytest.approx(DIAMETER_MM, abs=1e-4)
    assert told.lesions is not None
    assert [one.volume_ml for one in told.lesions] == pytest.approx(
        [31 * 0.0012, 2 * 0.0012, 0.0012], abs=1e-4
    )
    assert [one.label for one in told.lesions] == ["tumour 1", "tumour 1/2", "tumour 1/3"]
    assert all(one.kinetics is not None for one in told.lesions)
    # What it did not state nobody states for it.
    assert (told.origin.threshold, told.origin.device, told.left_out) == ("", "", 0)
    assert told.origin.lab == "lab-1"


def test_a_lab_of_now_tells_of_an_older_report_that_nothing_was_found(source):
    measured = reader.measure_stored(stored("nothing-found"), source, made_by(NOTHING))
    assert not measured.figures.tumor_detected
    assert measured.report is None


def test_an_older_report_is_named_as_predecessor(source):
    changed = made_by(UUID(int=5), predecessor=stored("measurements"))
    _, measured = lab_work(source, np.ones((6, 8, 10), np.uint8), changed)
    told = read_report(parsed(measured.report))
    assert told.predecessor_uid == identity.report_instance_uid(FOUND)
