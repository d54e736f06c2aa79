"""The sampling grid of a study, and smooth random fields that do not depend on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Arrays are float64: float32 sums differ between CPUs in the digits that rounding would show.
Array = NDArray[np.float64]
#: A part of a grid as index slices (z, y, x).
Box = tuple[slice, slice, slice]

#: Field of view in plane, mm. Both breasts and the front half of the chest fit.
FIELD_OF_VIEW_MM: Final = 320.0
#: Field of view along the body, mm, whatever the number of slices.
COVERAGE_MM: Final = 160.0
#: Position of the front edge of the field of view, mm behind the sternum (negative: in front).
FRONT_MM: Final = -120.0


@dataclass(frozen=True)
class Grid:
    """An axial grid with `slices` x `matrix` x `matrix` voxels over a fixed field of view.

    Coordinates are millimetres in the DICOM patient system: x to the left, y to the back,
    z to the head. Array axes are (slices, rows, cols) = (z, y, x).
    """

    slices: int = 80
    matrix: int = 256

    def __post_init__(self) -> None:
        if self.slices < 8 or self.matrix < 32:
            raise ValueError("a phantom needs at least 8 slices and a matrix of 32")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels as (slices, rows, cols)."""
        return (self.slices, self.matrix, self.matrix)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm as (slices, rows, cols)."""
        pixel = FIELD_OF_VIEW_MM / self.matrix
        return (COVERAGE_MM / self.slices, pixel, pixel)

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel in mm as (z, y, x)."""
        thick, pixel, _ = self.spacing
        return (
            -COVERAGE_MM / 2 + thick / 2,
            FRONT_MM + pixel / 2,
            -FIELD_OF_VIEW_MM / 2 + pixel / 2,
        )

    @cached_property
    def axes(self) -> tuple[Array, Array, Array]:
        """Coordinates (z, y, x) in mm, shaped to broadcast to `shape`."""
        z, y, x = (
            start + step * np.arange(count, dtype=np.float64)
            for start, step, count in zip(self.origin, self.spacing, self.shape, strict=True)
        )
        return z[:, None, None], y[None, :, None], x[None, None, :]

    @property
    def affine(self) -> Array:
        """4 x 4 matrix from (slice, row, col) indices to RAS+ millimetres."""
        thick, pixel, _ = self.spacing
        z, y, x = self.origin
        return np.array(
            [[0, 0, -pixel, -x], [0, -pixel, 0, -y], [thick, 0, 0, z], [0, 0, 0, 1]],
            dtype=np.float64,
        )

    @property
    def edge_mm(self) -> float:
        """Half the width of a soft edge: one voxel in plane, as partial volume gives."""
        return max(0.6, 0.5 * self.spacing[1])

    def box(self, centre: Sequence[float] | Array, reach_mm: Sequence[float] | Array) -> Box:
        """Index slices of the voxels within `reach_mm` of `centre`, both (z, y, x)."""
        parts = []
        for c, reach, start, step, count in zip(
            centre, reach_mm, self.origin, self.spacing, self.shape, strict=True
        ):
            low = int(np.clip(np.floor((c - reach - start) / step), 0, count))
            high = int(np.clip(np.ceil((c + reach - start) / step) + 1, 0, count))
            parts.append(slice(low, high))
        return parts[0], parts[1], parts[2]

    def axes_in(self, box: Box) -> tuple[Array, Array, Array]:
        """`axes` of the voxels of `box` only."""
        z, y, x = self.axes
        return z[box[0]], y[:, box[1]], x[:, :, box[2]]


def soft(depth_mm: Array, edge_mm: float) -> Array:
    """Share of a voxel that lies inside, 0..1, from its depth under a surface in mm."""
    return np.asarray(np.clip(0.5 + depth_mm / (2 * edge_mm), 0.0, 1.0))


def smooth_field(
    axes: tuple[Array, Array, Array], length_mm: float, rng: np.random.Generator
) -> Array:
    """Smooth Gaussian noise of about unit variance with features of `length_mm`.

    The random numbers sit on a lattice fixed in space, so that the same seed gives the same
    field on every grid. The interpolation is separable: three small matrix products.
    """
    weights = []
    for axis, (start, stop) in zip(axes, ((-90, 90), (-130, 210), (-170, 170)), strict=True):
        nodes = np.arange(start - length_mm, stop + 2 * length_mm, length_mm)
        weight = np.exp(-0.5 * ((axis.ravel()[:, None] - nodes[None, :]) / (0.6 * length_mm)) ** 2)
        weights.append(weight / np.sqrt((weight**2).sum(axis=1, keepdims=True)))
    wz, wy, wx = weights
    lattice = rng.standard_normal((wz.shape[1], wy.shape[1], wx.shape[1]))
    rows = np.tensordot(lattice, wx, axes=(2, 1))
    planes = np.tensordot(wz, np.einsum("zyx,ry->zrx", rows, wy, optimize=True), axes=(1, 0))
    return np.asarray(planes)
