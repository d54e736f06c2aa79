"""What the scanner and the patient add: motion, coil shading, bias, Rician noise."""

from typing import Final

import numpy as np
from scipy import ndimage

from infra.phantom.grid import Array, Grid, smooth_field
from infra.phantom.presets import Preset

#: Phase that defines the positions; the truth belongs to it, as readers draw on it.
REFERENCE_PHASE: Final = 1
#: Distance in mm over which the signal of the breast coil falls to 1/e behind the sternum.
COIL_DEPTH_MM: Final = 260.0


def move(signal: Array, grid: Grid, preset: Preset, rng: np.random.Generator) -> None:
    """Shift and bend every phase but the reference, in place. `signal` is (4, z, y, x)."""
    z, y, x = grid.axes
    index = [np.arange(n, dtype=np.float64) for n in grid.shape]
    for number, phase in enumerate(signal):
        size = rng.uniform(*preset.motion_mm)
        shift = rng.standard_normal(3)
        shift *= size / np.linalg.norm(shift)
        wave = rng.uniform(0, 2 * np.pi, size=3)
        if number == REFERENCE_PHASE:
            continue
        # The body drifts as a whole, and the breasts swing a little more towards the nipple.
        swing = 0.4 * np.clip(-y / 80.0, 0.0, 1.2)
        coordinates = [
            np.broadcast_to(
                grid_index + s * (1.0 + swing * np.sin(z / 60.0 + x / 70.0 + w)) / step, grid.shape
            )
            for grid_index, s, step, w in zip(
                np.ix_(*index), shift, grid.spacing, wave, strict=True
            )
        ]
        phase[...] = ndimage.map_coordinates(phase, coordinates, order=1, mode="nearest")


def shade(signal: Array, grid: Grid, preset: Preset, rng: np.random.Generator) -> None:
    """Multiply by the coil's sensitivity and a smooth bias field, in place."""
    _, y, _ = grid.axes
    bias = np.exp(rng.uniform(*preset.bias) * smooth_field(grid.axes, 90.0, rng))
    signal *= bias * np.exp(-np.maximum(y, 0.0) / COIL_DEPTH_MM)


def add_noise(signal: Array, preset: Preset, rng: np.random.Generator) -> None:
    """Make the magnitude of a noisy complex signal, in place: Rician noise."""
    sigma = rng.uniform(*preset.noise)
    for phase in signal:
        real = phase + sigma * rng.standard_normal(phase.shape)
        imaginary = sigma * rng.standard_normal(phase.shape)
        np.hypot(real, imaginary, out=phase)
