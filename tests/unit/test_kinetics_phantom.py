"""Curves of the phantom's tumours agree with the kinetics that they were painted with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex
from consumer.result.kinetics import CHANGE_PERCENT, Curve, WashOut, curves
from consumer.result.lesions import split
from infra.phantom import kinetics
from infra.phantom.acquisition import add_noise, move, shade
from infra.phantom.anatomy import paint_body
from infra.phantom.body import draw_body
from infra.phantom.canvas import Canvas
from infra.phantom.dicom import write_study
from infra.phantom.grid import Array, Grid
from infra.phantom.lesions import Lesion, paint_lesions
from infra.phantom.presets import PRESETS, PresetName
from infra.phantom.study import MAX_SIGNAL, simulate
from tests.dicom_factory import place

ROLES = ("pre", "post1", "post2", "last")
#: PHASE_MINUTES, from the first phase.
SECONDS = (0.0, 150.0, 240.0, 420.0)
GRID = Grid(48, 128)

#: Voxels that a tumour must have wholly inside: of a smaller one each neighbour counts too much.
ENOUGH = 100

#: Percent of the signal before contrast by which an enhancement may miss the formula's: with noise
#: alone; with motion too, which moves tissue from beside into the tumour; and over all voxels of
#: the truth, of which those at the edge are in part gland.
NOISE_PERCENT, SCAN_PERCENT, EDGE_PERCENT = 3.0, 15.0, 20.0

#: Percent by which a signal must be away from the bound of a type for that to be the same.
CLEAR_PERCENT = 4.0


@dataclass
class RecordedCanvas(Canvas):
    """Keeps what was painted last: its share of each voxel, and its curve."""

    painted: list[tuple[Array, kinetics.Curve]] = field(default_factory=list)

    def paint(self, weight, baseline, curve, box=(slice(None),) * 3):
        super().paint(weight, baseline, curve, box)
        whole = np.zeros(self.grid.shape)
        whole[box] = weight
        self.painted.append((whole, curve))


@dataclass(frozen=True)
class Tumours:
    """A study as `simulate` makes it, step by step, with the kinetics of its tumours."""

    canvas: RecordedCanvas
    truth: np.ndarray
    lesions: list[Lesion]
    #: As the scanner stores them.
    scanned: np.ndarray

    @property
    def even(self) -> list[tuple[Array, kinetics.Curve]]:
        """Share of each voxel and curve of the tumours that have one curve: no dead centre."""
        painted, even = iter(self.canvas.painted), []
        for lesion in self.lesions:
            share, curve = next(painted)
            if lesion.shape == "rim":
                next(painted)
            elif np.count_nonzero(share >= 1) >= ENOUGH:
                even.append((share, curve))
        return even


def tumours(seed: int, preset: PresetName) -> Tumours:
    settings = PRESETS[preset]
    body_rng, tissue_rng, _, lesion_rng, scan_rng = (
        np.random.default_rng(sequence) for sequence in np.random.SeedSequence(seed).spawn(5)
    )
    body = draw_body(body_rng)
    canvas = RecordedCanvas.blank(GRID)
    paint_body(canvas, body, settings, tissue_rng)
    canvas.painted.clear()
    truth, lesions = paint_lesions(canvas, body, settings, 3, lesion_rng)
    scanned = canvas.signal.copy()
    move(scanned, GRID, settings, scan_rng)
    shade(scanned, GRID, settings, scan_rng)
    add_noise(scanned, settings, scan_rng)
    stored = np.clip(np.rint(scanned), 0, MAX_SIGNAL).astype(np.float32)
    return Tumours(canvas, truth, lesions, stored)


def measured(volumes: np.ndarray, mask: np.ndarray) -> Curve:
    return curves(volumes.astype(np.float32), mask.astype(np.uint16), ROLES, SECONDS)[0]


def enhancement(found: Curve) -> np.ndarray:
    """Percent of the first signal in each phase, as `kinetics.Curve.enhancement` times 100."""
    means = np.array(found.means)
    return 100 * (means / means[0] - 1)


def type_of(curve: kinetics.Curve, margin: float = 0.0) -> WashOut | None:
    """The type by the formula, None where it is within `margin` percent of another."""
    _, early, _, last = (1 + e for e in curve.enhancement())
    change = 100 * (last / early - 1)
    if abs(abs(change) - CHANGE_PERCENT) < margin:
        return None
    if abs(change) <= CHANGE_PERCENT:
        return WashOut.PLATEAU
    return WashOut.PERSISTENT if change > 0 else WashOut.WASHOUT


@pytest.fixture(scope="module", params=[("plain", 5), ("hard", 7), ("hard", 4)])
def study(request) -> Tumours:
    preset, seed = request.param
    found = tumours(seed, preset)
    assert found.even
    return found


def test_wholly_inside_a_tumour_the_curve_is_the_formula(study):
    for share, curve in study.even:
        found = measured(study.canvas.signal, share >= 1)
        expected = 100 * np.array(curve.enhancement())
        np.testing.assert_allclose(enhancement(found), expected, atol=1e-3)
        assert found.wash_in_percent == pytest.approx(expected[1], abs=1e-3)
        assert found.type is type_of(curve)


def test_over_all_voxels_of_a_tumour_the_curve_is_near_the_formula(study):
    for share, curve in study.even:
        found = measured(study.canvas.signal, share >= 0.5)
        expected = 100 * np.array(curve.enhancement())
        assert np.abs(enhancement(found) - expected).max() < EDGE_PERCENT
        # What is mixed in takes up less, and later.
        assert found.wash_in_percent < expected[1]


def test_noise_leaves_the_curve_at_the_formula_and_its_type(study):
    noisy = study.canvas.signal.copy()
    add_noise(noisy, PRESETS["hard"], np.random.default_rng(1))
    for share, curve in study.even:
        agrees(measured(noisy, share >= 1), curve, NOISE_PERCENT)


def test_motion_shading_and_noise_leave_it_near_the_formula_and_its_type(study):
    for share, curve in study.even:
        agrees(measured(study.scanned, share >= 1), curve, SCAN_PERCENT)


def agrees(found: Curve, curve: kinetics.Curve, percent: float) -> None:
    expected = 100 * np.array(curve.enhancement())
    assert np.abs(enhancement(found) - expected).max() < percent
    kind = type_of(curve, CLEAR_PERCENT)
    assert kind is None or found.type is kind


@pytest.mark.parametrize("kind", WashOut)
@pytest.mark.parametrize("sigma", [0.0, 12.0])
def test_each_type_is_told_from_the_others_with_and_without_noise(kind, sigma):
    curve = {
        WashOut.PERSISTENT: kinetics.Curve(1.4, 0.8, -0.02),
        WashOut.PLATEAU: kinetics.Curve(1.5, 2.0, 0.02),
        WashOut.WASHOUT: kinetics.Curve(1.8, 3.0, 0.12),
    }[kind]
    assert type_of(curve, CLEAR_PERCENT) is kind
    canvas = RecordedCanvas.blank(GRID)
    canvas.signal += 2000  # something brighter around
    canvas.paint_ellipsoid((5.0, 10.0, -20.0), (11.0, 9.0, 8.0), 320.0, curve)
    rng = np.random.default_rng(8)
    noisy = np.hypot(
        canvas.signal + sigma * rng.standard_normal(canvas.signal.shape),
        sigma * rng.standard_normal(canvas.signal.shape),
    )
    found = measured(noisy, canvas.painted[0][0] >= 1)
    assert found.type is kind
    np.testing.assert_allclose(enhancement(found), 100 * np.array(curve.enhancement()), atol=2.0)


def test_the_curves_of_a_study_as_the_lab_reads_it(tmp_path: Path):
    simulated = simulate(seed=5, grid=Grid(slices=24, matrix=64), tumours=2)
    written = write_study(simulated, tmp_path)
    files: dict[str, list[bytes]] = {}
    for path in written.files:
        uid = dcmread(path, stop_before_pixels=True).SeriesInstanceUID
        files.setdefault(uid, []).append(path.read_bytes())
    with MemoryFile() as memory, MemoryFile() as volume:
        phases = tuple(
            place(memory, files[uid], role, uid)
            for role, uid in zip(ROLES, written.series_instance_uids, strict=True)
        )
        header = reader.read_phases(DownloadIndex(written.study_instance_uid, phases), volume.path)
        voxels = volume.open_array(header.shape, np.float32)
        labels = split(simulated.truth, header.spacing, 10.0).labels
        found = curves(voxels, labels, header.roles, header.seconds)
    assert found
    for number, one in enumerate(found, 1):
        expected = simulated.phases[:, labels == number].mean(axis=1, dtype=float)
        assert one.means == pytest.approx(expected)
        assert one.seconds == SECONDS
        assert one.wash_in_percent == pytest.approx(100 * (expected[1] / expected[0] - 1))
        assert one.type is not None
