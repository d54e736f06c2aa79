"""What the site reads of lesions, curves and origin, in reports of now and of before."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests import report_tree as tree
from web.orthanc.errors import UnreadableReport
from web.results.report_details import (
    Kinetics,
    Point,
    ReadLesion,
    WashOut,
    read_report,
)
from web.results.report_origin import ReportedPhase

OLDER = Path(__file__).parents[1] / "older_results"

PARAMETERS = (
    "bundle_sha256=" + "ab" * 32,
    "weights_sha256 models/model.pt=" + "cd" * 32,
    "weights_sha256 models/box.pt=" + "ef" * 32,
    "request=0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c11",
    "lab=lab-1",
    "device=cuda:0",
    "labrelay=0.1.0",
    "threshold=0.5",
    "smallest_mm3=10",
    "created=2026-11-23T10:38:54+09:00",
    "notice=Trained on phantoms: a = b, not for clinical use",
    "input pre=1.2.3",
    "input post1=1.2.4 TemporalPositionIdentifier 2",
)

CURVE = (
    tree.point("pre", 200.5, 0.0),
    tree.point("post1", 400.25, 90.0),
    tree.point("last", 300.0, None),
)


def summary(found: bool, *items: Dataset) -> Dataset:
    texts = [tree.text(tree.PARAMETER, words) for words in PARAMETERS]
    outcome = tree.code(tree.NEOPLASM, tree.PRESENT if found else tree.ABSENT)
    return tree.group(outcome, tree.figure(tree.LEFT_OUT, 3), *texts, *items)


def whole() -> Dataset:
    totals = (tree.figure(tree.VOLUME, 1.75), tree.figure(tree.DIAMETER, 20.5))
    first = tree.lesion(
        "lesion 1",
        tree.figure(tree.VOLUME, 1.5),
        tree.figure(tree.DIAMETER, 20.5),
        tree.figure(tree.IN_PLANE, 18.25),
        *CURVE,
        tree.figure(tree.WASH_IN, 99.6),
        tree.code(tree.PATTERN, ("130599", "DCM")),
    )
    second = tree.lesion("lesion 2", tree.figure(tree.VOLUME, 0.25))
    return tree.report(summary(True, *totals), first, second)


def test_each_lesion_is_told_with_its_figures_and_its_curve() -> None:
    told = read_report(whole())
    assert (told.tumor_detected, told.volume_ml, told.longest_diameter_mm) == (True, 1.75, 20.5)
    assert told.left_out == 3
    assert told.lesions == (
        ReadLesion(
            number=1,
            label="lesion 1",
            volume_ml=1.5,
            longest_diameter_mm=20.5,
            longest_in_plane_mm=18.25,
            kinetics=Kinetics(
                points=(
                    Point("pre", 200.5, 0.0),
                    Point("post1", 400.25, 90.0),
                    Point("last", 300.0, None),
                ),
                wash_in_percent=99.6,
                wash_out=WashOut.WASHOUT,
            ),
        ),
        ReadLesion(2, "lesion 2", 0.25, None, None, None),
    )


def test_the_origin_is_told_as_the_report_states_it() -> None:
    told = read_report(whole())
    origin = told.origin
    assert (origin.model, origin.version, origin.bundle_sha256) == (
        "breast_dce_phantom",
        "1.2.0",
        "ab" * 32,
    )
    assert origin.weights_sha256 == (("models/model.pt", "cd" * 32), ("models/box.pt", "ef" * 32))
    assert origin.phases == (
        ReportedPhase("pre", "1.2.3", ""),
        ReportedPhase("post1", "1.2.4", "TemporalPositionIdentifier 2"),
    )
    assert (origin.lab, origin.device, origin.labrelay) == ("lab-1", "cuda:0", "0.1.0")
    assert (origin.threshold, origin.smallest_mm3) == ("0.5", "10")
    assert origin.created == "2026-11-23T10:38:54+09:00"
    # Only the first = divides.
    assert origin.notice == "Trained on phantoms: a = b, not for clinical use"
    assert (told.verification, told.predecessor_uid) == ("UNVERIFIED", "")


def test_the_report_that_it_replaces_is_named() -> None:
    report, document, series, instance = whole(), Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPInstanceUID = "2.25.7"
    series.ReferencedSOPSequence = [instance]
    document.ReferencedSeriesSequence = [series]
    report.PredecessorDocumentsSequence = [document]
    assert read_report(report).predecessor_uid == "2.25.7"


def test_without_a_finding_there_are_no_lesions() -> None:
    told = read_report(tree.report(summary(False)))
    assert (told.tumor_detected, told.lesions, told.volume_ml) == (False, (), None)
    assert told.left_out == 3


@pytest.mark.parametrize(
    ("code", "told"),
    [("130597", WashOut.PERSISTENT), ("130598", WashOut.PLATEAU), ("999", None)],
)
def test_a_type_of_curve_that_is_not_known_is_left_open(code: str, told: WashOut | None) -> None:
    group = tree.lesion("lesion 1", *CURVE, tree.code(tree.PATTERN, (code, "DCM")))
    lesions = read_report(tree.report(summary(True), group)).lesions
    assert lesions is not None
    assert lesions[0].kinetics is not None
    assert lesions[0].kinetics.wash_out is told
    assert lesions[0].kinetics.wash_in_percent is None


def test_a_report_of_before_states_totals_and_no_lesions_and_what_it_has_of_its_origin() -> None:
    told = read_report(dcmread(OLDER / "measurements.dcm"))
    assert told.tumor_detected
    assert told.volume_ml
    assert told.longest_diameter_mm
    assert (told.lesions, told.left_out) == (None, None)
    origin = told.origin
    assert (origin.model, origin.version) == ("breast-dce-phantom", "0.1.0")
    assert origin.bundle_sha256 == "ab" * 32
    assert [phase.role for phase in origin.phases] == ["pre", "post1", "post2", "last"]
    assert origin.lab == "lab-1"
    assert origin.created == "2026-11-23T01:38:54", "in nobody's zone"
    assert (origin.weights_sha256, origin.device, origin.labrelay) == ((), "", "")


def test_a_report_of_before_that_found_nothing_is_told_alike() -> None:
    told = read_report(dcmread(OLDER / "nothing-found.dcm"))
    assert (told.tumor_detected, told.lesions, told.left_out) == (False, (), None)


def without_versions() -> Dataset:
    report = whole()
    del report.SoftwareVersions
    return report


def without_a_value() -> Dataset:
    report = whole()
    lesion = report.ContentSequence[0].ContentSequence[1]
    del lesion.ContentSequence[2].MeasuredValueSequence
    return report


def with_volumes(*volumes: object) -> Dataset:
    return tree.report(
        summary(True), tree.lesion("a", *(tree.figure(tree.VOLUME, one) for one in volumes))
    )


@pytest.mark.parametrize(
    "report",
    [
        Dataset(),
        tree.report(),
        tree.report(summary(True), summary(True)),
        tree.report(tree.lesion("a"), tree.lesion("b")),
        with_volumes("1e999"),
        with_volumes(1, 2),
        without_versions(),
        without_a_value(),
    ],
    ids=["empty", "no group", "two sums", "no sum", "infinite", "two volumes", "maker", "value"],
)
def test_a_report_that_is_none_of_ours_is_unreadable_and_is_not_quoted(report: Dataset) -> None:
    report.PatientName = "Secret^Name"
    with pytest.raises(UnreadableReport) as caught:
        read_report(report)
    assert "Secret" not in str(caught.value)
