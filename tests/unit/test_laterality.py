"""The side of a lesion comes from where both breasts are seen, or is not determined."""

from __future__ import annotations

import numpy as np
import pytest

from consumer.bundle import TUMOR, Code, ResultCodes
from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.result.laterality import MARGIN_MM, Laterality, sides
from consumer.result.midline import midline_x
from infra.phantom.grid import Grid
from infra.phantom.study import PhantomStudy, simulate
from tests.dciodvfy import dicom_errors
from tests.dicom_factory import Series, index
from tests.unit.test_result_objects import (
    LARGE,
    about,
    lab_work,
    marks,
    package,
    parsed,
    phases,
)
from web.results import report_details as told_by_site
from web.results.report_details import read_report

#: mm by which a midline may be found beside the true one, x = 0 of the phantom.
FOUND_MM = 8.0


@pytest.fixture(scope="module")
def woman() -> PhantomStudy:
    return simulate(3, "hard", Grid(32, 96))


def affine_lps(study: PhantomStudy) -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ study.affine


def moved(affine: np.ndarray, x: float) -> np.ndarray:
    found = affine.copy()
    found[0, 3] += x
    return found


def turned(voxels: np.ndarray, affine: np.ndarray, axes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels in the same places with other axes, some of them backwards (`-`)."""
    order = [int(letter) for letter in axes if letter.isdigit()]
    array, matrix = voxels.transpose(order), affine[:, [*order, 3]].copy()
    for axis, sign in enumerate(part for part in axes.split() if part):
        if sign.startswith("-"):
            array = np.flip(array, axis)
            matrix[:3, 3] += matrix[:3, axis] * (array.shape[axis] - 1)
            matrix[:3, axis] *= -1
    return np.ascontiguousarray(array), matrix


@pytest.mark.parametrize(("seed", "preset"), [(0, "plain"), (4, "hard")])
def test_the_midline_lies_between_the_two_breasts(seed, preset):
    study = simulate(seed, preset, Grid(24, 64))
    found = midline_x(study.phases[0], affine_lps(study))
    assert found == pytest.approx(0.0, abs=FOUND_MM)


@pytest.mark.parametrize("shift", [-90.0, -31.0, 45.0, 120.0])
def test_a_patient_who_lies_beside_the_middle_of_the_scanner_has_her_midline_there(woman, shift):
    found = midline_x(woman.phases[0], moved(affine_lps(woman), shift))
    assert found == pytest.approx(shift, abs=FOUND_MM)


@pytest.mark.parametrize("cut", [8, 14])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_field_that_is_off_centre_has_it_where_the_breasts_have_it(woman, cut, side):
    affine = affine_lps(woman)
    voxels = woman.phases[0][:, :, cut:] if side > 0 else woman.phases[0][:, :, :-cut]
    if side > 0:
        affine[:3, 3] += affine[:3, 2] * cut
    assert midline_x(voxels, affine) == pytest.approx(0.0, abs=FOUND_MM)


@pytest.mark.parametrize(
    "axes",
    # Sagittal slices from either side, coronal ones, and an axial stack from the feet up with rows
    # and columns backwards, as when the feet go first into the scanner.
    ["2 0 1", "-2 -0 1", "1 0 2", "-0 1 -2", "0 -1 -2"],
)
def test_it_is_the_same_however_the_slices_run(woman, axes):
    voxels, affine = turned(woman.phases[0], affine_lps(woman), axes)
    assert midline_x(voxels, affine) == pytest.approx(0.0, abs=FOUND_MM)


@pytest.mark.parametrize("degrees", [-8.0, 12.0])
def test_oblique_slices_have_it_too(woman, degrees):
    """Of a woman who lies straight: the slices are turned about x."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    found = midline_x(woman.phases[0], turn @ affine_lps(woman))
    assert found == pytest.approx(0.0, abs=FOUND_MM)


@pytest.mark.parametrize("columns", [0.5, 0.55, 0.6])
@pytest.mark.parametrize("side", ["right", "left"])
def test_images_of_one_breast_have_no_midline(woman, columns, side):
    count = round(96 * columns)
    affine = affine_lps(woman)
    voxels = woman.phases[0][:, :, :count]
    if side == "left":
        voxels = woman.phases[0][:, :, -count:]
        affine[:3, 3] += affine[:3, 2] * (96 - count)
    assert midline_x(voxels, affine) is None
    sagittal, placed = turned(voxels, affine, "2 0 1")
    assert midline_x(sagittal, placed) is None


def test_a_slab_through_a_part_of_the_breasts_has_no_midline(woman):
    assert midline_x(woman.phases[0][10:24], affine_lps(woman)) is None


def test_a_breast_that_is_missing_leaves_no_midline(woman):
    voxels = woman.phases[0].copy()
    # All in front of the chest on one side.
    front = round(120 / 320 * 96)
    voxels[:, :front, 52:] = voxels[:, :3, :3].mean()
    assert midline_x(voxels, affine_lps(woman)) is None


def test_a_patient_whose_back_is_said_to_be_her_front_has_none(woman):
    """Registered supine and scanned prone: left and right would be the wrong ones."""
    wrong = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps(woman)
    assert midline_x(woman.phases[0], wrong) is None


@pytest.mark.parametrize(
    "voxels",
    [
        np.zeros((4, 40, 60), np.float32),
        np.ones((1, 1, 1), np.float32),
        np.random.default_rng(1).normal(500, 40, (8, 60, 60)).astype(np.float32),
        np.tile(np.linspace(0, 900, 60, dtype=np.float32), (8, 60, 1)),
    ],
    ids=["nothing", "one voxel", "noise", "a ramp"],
)
def test_what_is_no_body_has_none(voxels):
    assert midline_x(voxels, np.diag([4.0, 4.0, 4.0, 1.0])) is None


def box(left: int, right: int) -> np.ndarray:
    """One lesion in the columns from `left` up to `right`."""
    labels = np.zeros((2, 3, 200), np.uint16)
    labels[:, 1, left:right] = 1
    return labels


#: x of a column: its number, less 100 mm.
AXIAL = np.array([[0, 0, 1, -100], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize(
    ("columns", "midline", "side"),
    [
        ((150, 160), 0.0, Laterality.LEFT),
        ((40, 50), 0.0, Laterality.RIGHT),
        ((150, 160), 90.0, Laterality.RIGHT),
        ((150, 160), None, Laterality.NOT_DETERMINED),
        # 14 mm beside the midline, and 16.
        ((112, 117), 0.0, Laterality.NOT_DETERMINED),
        ((114, 119), 0.0, Laterality.LEFT),
        ((82, 87), 0.0, Laterality.RIGHT),
        # Reaches across.
        ((90, 160), 0.0, Laterality.NOT_DETERMINED),
    ],
)
def test_a_lesion_is_on_the_side_of_the_midline_beyond_the_margin(columns, midline, side):
    assert MARGIN_MM == 15.0
    assert sides(box(*columns), 7, AXIAL, midline) == (side,)


def test_the_slices_before_the_marks_count_where_slices_run_from_side_to_side():
    sagittal = np.array([[2.0, 0, 0, -100], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    labels = np.ones((3, 2, 2), np.uint16)
    assert sides(labels, 10, sagittal, 0.0) == (Laterality.RIGHT,)
    assert sides(labels, 80, sagittal, 0.0) == (Laterality.LEFT,)


class Case:
    """A woman of two lesions as DICOM, and what lab and site say of them."""

    def __init__(self, woman: PhantomStudy) -> None:
        spacing = tuple(float(np.linalg.norm(woman.affine[:3, axis])) for axis in range(3))
        origin = tuple(float(v) for v in affine_lps(woman)[:3, 3])
        first = Series(*woman.grid.shape, spacing=spacing, origin=origin)
        series = {}
        for role, voxels in zip(("pre", "post1"), woman.phases, strict=False):
            series[role] = Series(
                *woman.grid.shape,
                spacing=spacing,
                origin=origin,
                study_uid=first.study_uid,
                frame_uid=first.frame_uid,
                pixels=voxels.astype(np.uint16),
                time="101500" if role == "pre" else "101700",
            )
        mask = np.zeros(woman.grid.shape, np.uint8)
        mask[10:16, 30:36, 68:76] = 1
        mask[12:15, 32:36, 20:24] = 1
        mask[12:14, 48:50, 47:49] = 1
        self.spec = about()
        with MemoryFile() as memory:
            source = index(memory, **series)
            primary = package(source, mask, self.spec)
            self.measured = reader.measure_stored(primary, source, self.spec)
        assert self.measured.report is not None
        self.told = read_report(parsed(self.measured.report))


def test_report_site_and_run_by_hand_say_the_side_of_each_lesion(woman, tmp_path):
    case = Case(woman)
    assert case.told.lesions is not None
    assert [one.laterality for one in case.told.lesions] == [
        told_by_site.Laterality.LEFT,
        told_by_site.Laterality.RIGHT,
        told_by_site.Laterality.NOT_DETERMINED,
    ]
    said = [one.laterality for one in case.measured.lesions]
    assert said == ["left", "right", "not_determined"]
    assert dicom_errors(case.measured.report, tmp_path) == []


def test_a_report_of_before_states_no_side():
    with MemoryFile() as memory:
        _, measured = lab_work(index(memory, **phases()), marks(LARGE), about())
    report = parsed(measured.report)
    for group in report.ContentSequence[-1].ContentSequence:
        group.ContentSequence = [
            item
            for item in group.ContentSequence
            if item.ConceptNameCodeSequence[0].CodeValue != "272741003"
        ]
    told = read_report(report)
    assert told.lesions is not None
    assert told.lesions[0].laterality is told_by_site.Laterality.NOT_STATED


def test_a_model_of_something_else_than_the_breast_tells_no_side():
    brain = Code("12738006", "SCT", "Brain")
    codes = ResultCodes(brain, brain, brain, TUMOR.procedure)
    with MemoryFile() as memory:
        _, measured = lab_work(index(memory, **phases()), marks(LARGE), about(codes=codes))
    told = read_report(parsed(measured.report))
    assert told.lesions is not None
    assert told.lesions[0].laterality is None
    assert measured.lesions[0].laterality is None
