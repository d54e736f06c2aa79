"""The simulated studies: frozen, truthful, valid DICOM."""

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from infra.phantom import splits
from infra.phantom.dicom import write_study
from infra.phantom.grid import Grid
from infra.phantom.lesions import draw_count
from infra.phantom.presets import PresetName
from infra.phantom.study import PhantomStudy, simulate

SMALL = Grid(24, 96)

#: SHA-256 of phases and truth. The bundle was trained and measured on this generator: a change
#: of any of these means training and measuring again, and a new GENERATOR_VERSION.
FROZEN = {
    (7, "plain"): "cb804b66d53e821e4e2089287837d9d5edfb0a36ea80c82b8e20f2f19aaeb4b2",
    (8, "hard"): "70c710aa876d135a4c421aebf2942ee126035344aa705d4971650f52783403cd",
    (3000, "plain"): "ee87593554a709e48ce46d4cb92ca548968ce3b63fe48dc8f7327b38d6f15858",
}


def digest(study: PhantomStudy) -> str:
    whole = study.phases.astype("<u2").tobytes() + study.truth.astype(np.uint8).tobytes()
    return hashlib.sha256(whole).hexdigest()


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return simulate(7, "plain", SMALL, tumours=2)


@pytest.mark.parametrize(("seed", "preset"), FROZEN)
def test_the_generator_is_frozen(seed: int, preset: PresetName) -> None:
    assert digest(simulate(seed, preset, SMALL, tumours=2)) == FROZEN[seed, preset]


def test_the_seeds_are_frozen_and_no_seed_is_in_two_splits() -> None:
    parts = [
        splits.TRAIN,
        splits.VALIDATION,
        splits.TEST_PLAIN,
        splits.TEST_HARD,
        splits.TEST_EMPTY,
    ]
    seeds = [seed for part in parts for seed in part]
    assert len(seeds) == len(set(seeds))
    assert hashlib.sha256(repr(parts).encode()).hexdigest()[:16] == "bb8dfa625764f4a1"


def test_the_same_arguments_give_the_same_study(study: PhantomStudy) -> None:
    again = simulate(7, "plain", SMALL, tumours=2)
    assert np.array_equal(study.phases, again.phases)
    assert np.array_equal(study.truth, again.truth)
    assert study.lesions == again.lesions


def test_another_seed_gives_another_study(study: PhantomStudy) -> None:
    assert digest(study) != digest(simulate(8, "plain", SMALL, tumours=2))


def test_phases_are_whole_numbers_of_twelve_bits(study: PhantomStudy) -> None:
    assert study.phases.dtype == np.float32
    assert study.phases.shape == (4, *SMALL.shape)
    assert np.array_equal(study.phases, np.rint(study.phases))
    assert study.phases.min() >= 0
    assert study.phases.max() <= 4095


def test_a_study_without_tumours_has_an_empty_truth_and_the_same_body(
    study: PhantomStudy,
) -> None:
    empty = simulate(7, "plain", SMALL, tumours=0)
    assert not empty.truth.any()
    assert empty.lesions == ()
    away = ~study.truth & (np.abs(study.phases - empty.phases).max(axis=0) == 0)
    assert away.mean() > 0.95


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_tumour_asked_for_is_in_the_truth(count: int) -> None:
    study = simulate(11, "plain", Grid(80, 128), tumours=count)
    assert len(study.lesions) == count
    voxel_ml = np.prod(study.grid.spacing) / 1000
    assert sum(t.volume_ml for t in study.lesions) == pytest.approx(study.truth.sum() * voxel_ml)
    to_index = np.linalg.inv(study.affine)
    for lesion in study.lesions:
        assert 5 <= lesion.diameter_mm <= 40
        index = np.rint(to_index @ [*lesion.centre, 1.0])[:3].astype(int)
        near = tuple(slice(max(i - 3, 0), i + 4) for i in index)
        assert study.truth[near].any()


def test_tumours_enhance_more_than_the_gland_around_them() -> None:
    with_tumour = simulate(11, "plain", Grid(80, 128), tumours=1)
    without = simulate(11, "plain", Grid(80, 128), tumours=0)
    rise = (with_tumour.phases[1] - with_tumour.phases[0])[with_tumour.truth].mean()
    before = (without.phases[1] - without.phases[0])[with_tumour.truth].mean()
    assert rise > 3 * max(before, 20)


def test_the_number_of_tumours_is_drawn_where_nobody_asks() -> None:
    drawn = [draw_count(np.random.default_rng(seed)) for seed in range(200)]
    assert set(drawn) == {0, 1, 2, 3}
    grid = Grid(8, 32)
    assert len({len(simulate(seed, "plain", grid).lesions) for seed in range(6)}) > 1


@pytest.mark.parametrize("preset", ["plain", "hard"])
def test_written_files_pass_dciodvfy(preset: PresetName, tmp_path: Path) -> None:
    written = write_study(simulate(5, preset, Grid(8, 32), tumours=1), tmp_path)
    for path in written.files:
        check = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in check.stderr, f"{path.name}: {check.stderr}"


def test_a_written_study_reads_back_voxel_for_voxel(study: PhantomStudy, tmp_path: Path) -> None:
    written = write_study(study, tmp_path)
    sets = [pydicom.dcmread(path) for path in written.files]
    assert {s.StudyInstanceUID for s in sets} == {written.study_instance_uid}
    assert len({s.FrameOfReferenceUID for s in sets}) == 1
    assert len({(s.WindowCenter, s.WindowWidth) for s in sets}) == 1
    assert len({s.SOPInstanceUID for s in sets}) == len(sets)
    for phase, uid in enumerate(written.series_instance_uids):
        series = [s for s in sets if s.SeriesInstanceUID == uid]
        series.sort(key=lambda s: s.ImagePositionPatient[2])
        assert np.array_equal(np.stack([s.pixel_array for s in series]), study.phases[phase])
        assert {s.TemporalPositionIdentifier for s in series} == {phase + 1}
        x, y, z = series[3].ImagePositionPatient
        assert study.affine @ [3, 0, 0, 1] == pytest.approx([-x, -y, z, 1], abs=1e-5)
    times = [
        min(s.AcquisitionTime for s in sets if s.SeriesInstanceUID == uid)
        for uid in written.series_instance_uids
    ]
    assert times == sorted(set(times))


def test_the_localizer_is_a_fifth_series_in_three_planes(
    study: PhantomStudy, tmp_path: Path
) -> None:
    written = write_study(study, tmp_path)
    planes = [
        s
        for s in map(pydicom.dcmread, written.files)
        if s.SeriesInstanceUID == written.localizer_series_uid
    ]
    assert len({tuple(s.ImageOrientationPatient) for s in planes}) == 3
    assert written.localizer_series_uid not in written.series_instance_uids


def test_writing_twice_gives_the_same_bytes(study: PhantomStudy, tmp_path: Path) -> None:
    first = write_study(study, tmp_path / "a")
    second = write_study(study, tmp_path / "b")
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_studies_that_differ_in_anything_differ_in_their_identifiers(tmp_path: Path) -> None:
    grid = Grid(8, 32)
    variants = [
        simulate(5, "plain", grid, tumours=1),
        simulate(6, "plain", grid, tumours=1),
        simulate(5, "hard", grid, tumours=1),
        simulate(5, "plain", grid, tumours=0),
        simulate(5, "plain", Grid(9, 32), tumours=1),
    ]
    uids = {
        write_study(variant, tmp_path / str(number)).study_instance_uid
        for number, variant in enumerate(variants)
    }
    assert len(uids) == len(variants)


def test_the_truth_is_beside_the_images_and_never_in_them(
    study: PhantomStudy, tmp_path: Path
) -> None:
    written = write_study(study, tmp_path)
    assert np.array_equal(np.load(written.truth)["truth"], study.truth)
    assert written.truth.parent not in {path.parent for path in written.files}
    assert {pydicom.dcmread(path).Modality for path in written.files} == {"MR"}
    assert all("tumo" not in str(pydicom.dcmread(path)).lower() for path in written.files[::20])


def test_every_image_says_that_it_is_simulated(study: PhantomStudy, tmp_path: Path) -> None:
    for path in write_study(study, tmp_path).files[::9]:
        image = pydicom.dcmread(path, stop_before_pixels=True)
        assert "not a patient" in image.ImageComments
        assert str(image.PatientName) == "PHANTOM^SIMULATED"
        assert image.PatientID == "PHANTOM-000007"
