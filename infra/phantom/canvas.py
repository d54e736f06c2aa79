"""The four noise-free phases that tissues are painted into."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from infra.phantom import kinetics
from infra.phantom.body import ellipsoid
from infra.phantom.grid import Array, Box, Grid, soft
from infra.phantom.kinetics import Curve

EVERYWHERE: Final[Box] = (slice(None), slice(None), slice(None))

#: Pre-contrast signal in scanner units of a fat-suppressed T1-weighted gradient echo.
SIGNAL: Final = {
    "fat": 105.0,
    "skin": 250.0,
    "gland": 300.0,
    "muscle": 255.0,
    "heart": 240.0,
    "blood": 210.0,
    "lung": 30.0,
    "bone": 90.0,
    "liver": 330.0,
    "nipple": 310.0,
}


@dataclass
class Canvas:
    """Four noise-free phases that tissues are painted into, (4, slices, rows, cols)."""

    grid: Grid
    signal: Array

    @classmethod
    def blank(cls, grid: Grid) -> "Canvas":
        """Air everywhere."""
        return cls(grid, np.zeros((4, *grid.shape)))

    def paint(
        self, weight: Array, baseline: Array | float, curve: Curve, box: Box = EVERYWHERE
    ) -> None:
        """Mix a tissue in, with `weight` 0..1 as its share of each voxel of `box`."""
        for phase, value in zip(self.signal, curve.phases(baseline), strict=True):
            part = phase[box]
            part += weight * (value - part)

    def paint_ellipsoid(
        self,
        centre: tuple[float, float, float],
        semi: tuple[float, float, float],
        baseline: float,
        curve: Curve,
    ) -> None:
        """Paint an even ellipsoid; centre and half axes in mm as (z, y, x)."""
        box = self.grid.box(centre, np.array(semi) + 3.0)
        depth = -ellipsoid(self.grid.axes_in(box), centre, semi)
        self.paint(soft(depth, self.grid.edge_mm), baseline, curve, box)

    def paint_tube(self, across: float, deep: float, radius: float, baseline: float) -> None:
        """Paint a blood vessel along the body at x = `across`, y = `deep`, all in mm."""
        box = self.grid.box((0.0, deep, across), (1e3, radius + 3.0, radius + 3.0))
        z, y, x = self.grid.axes_in(box)
        depth = radius - np.hypot(x - across, y - deep) + 0.0 * z
        self.paint(soft(depth, self.grid.edge_mm), baseline, kinetics.BLOOD, box)
