"""One simulated study, from a seed."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from infra.phantom.acquisition import add_noise, move, shade
from infra.phantom.anatomy import paint_body
from infra.phantom.body import draw_body
from infra.phantom.canvas import Canvas
from infra.phantom.grid import Array, Grid
from infra.phantom.kinetics import PHASE_MINUTES
from infra.phantom.lesions import Lesion, draw_count, paint_lesions
from infra.phantom.lookalikes import paint_lookalikes
from infra.phantom.presets import PRESETS, PresetName

#: Raised whenever the same seed gives other voxels; part of every UID.
GENERATOR_VERSION: Final = 1
#: Largest stored value: 12 bits, as most scanners store.
MAX_SIGNAL: Final = 4095


@dataclass(frozen=True)
class PhantomStudy:
    """Four phases with the truth on the grid of the first post-contrast phase."""

    seed: int
    preset: PresetName
    grid: Grid
    #: (4, slices, rows, cols), whole numbers 0..4095: the values that DICOM stores.
    phases: NDArray[np.float32]
    #: (slices, rows, cols), True in tumour.
    truth: NDArray[np.bool_]
    #: 4 x 4, from (slice, row, col) to RAS+ mm.
    affine: Array
    #: Minutes after the injection of each phase.
    minutes: tuple[float, ...]
    lesions: tuple[Lesion, ...]


def simulate(
    seed: int,
    preset: PresetName = "plain",
    grid: Grid | None = None,
    tumours: int | None = None,
) -> PhantomStudy:
    """Simulate a study; the same arguments give the same voxels on every machine.

    `tumours` is the number of tumours; None draws 0 to 3 from the seed. Anatomy and noise do
    not depend on it, so a study can be had with and without its tumours.
    """
    grid = grid or Grid()
    settings = PRESETS[preset]
    # One stream for each concern: a change in one leaves the others as they were.
    body_rng, tissue_rng, lookalike_rng, lesion_rng, scan_rng = (
        np.random.default_rng(sequence)
        for sequence in np.random.SeedSequence([seed, GENERATOR_VERSION]).spawn(5)
    )
    body = draw_body(body_rng)
    canvas = Canvas.blank(grid)
    paint_body(canvas, body, settings, tissue_rng)
    paint_lookalikes(canvas, body, settings, lookalike_rng)
    drawn = draw_count(lesion_rng)
    count = drawn if tumours is None else tumours
    truth, lesions = paint_lesions(canvas, body, settings, count, lesion_rng)
    signal = canvas.signal
    move(signal, grid, settings, scan_rng)
    shade(signal, grid, settings, scan_rng)
    add_noise(signal, settings, scan_rng)
    return PhantomStudy(
        seed=seed,
        preset=preset,
        grid=grid,
        phases=np.clip(np.rint(signal), 0, MAX_SIGNAL).astype(np.float32),
        truth=truth,
        affine=grid.affine,
        minutes=PHASE_MINUTES,
        lesions=tuple(lesions),
    )
