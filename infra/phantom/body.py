"""The outer shape of a body: thorax and two breasts as signed distances in mm."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from infra.phantom.grid import Array

#: Width of the blend between breast and chest, mm.
BLEND_MM: Final = 14.0


def ellipsoid(
    point: tuple[Array, Array, Array], centre: tuple[float, float, float], semi: tuple[float, ...]
) -> Array:
    """First-order signed distance in mm to an ellipsoid, negative inside; all as (z, y, x)."""
    offsets = [p - c for p, c in zip(point, centre, strict=True)]
    square = sum((o / s) ** 2 for o, s in zip(offsets, semi, strict=True))
    slope = sum((o / s**2) ** 2 for o, s in zip(offsets, semi, strict=True))
    radius = np.sqrt(square)
    return np.asarray((radius - 1.0) * radius / np.sqrt(np.maximum(slope, 1e-9)))


def blend(a: Array, b: Array, width_mm: float = BLEND_MM) -> Array:
    """Union of two signed distances with a rounded crease (polynomial smooth minimum)."""
    h = np.maximum(width_mm - np.abs(a - b), 0.0) / width_mm
    return np.asarray(np.minimum(a, b) - h * h * width_mm * 0.25)


@dataclass(frozen=True)
class Breast:
    """One breast: +1 is the left one. Lengths in mm, positions as (z, y, x)."""

    side: int
    centre: tuple[float, float, float]
    semi: tuple[float, float, float]
    #: Glandular tissue: its size relative to the breast, and how much of it is gland.
    gland_scale: float
    density: float

    @property
    def nipple(self) -> tuple[float, float, float]:
        """The foremost point."""
        z, y, x = self.centre
        return (z, y - self.semi[1], x)

    def distance(self, point: tuple[Array, Array, Array]) -> Array:
        """Signed distance to the breast's own ellipsoid, negative inside."""
        return ellipsoid(point, self.centre, self.semi)

    def gland_distance(self, point: tuple[Array, Array, Array]) -> Array:
        """Signed distance to the region that holds glandular tissue, negative inside."""
        z, y, x = self.centre
        zs, ys, xs = self.semi
        s = self.gland_scale
        # Forward of the centre, and towards the outer upper quadrant, as in most women.
        centre = (z + 0.08 * zs, y - 0.36 * ys, x + self.side * 0.08 * xs)
        return ellipsoid(point, centre, (s * zs, 0.60 * ys, s * xs))


@dataclass(frozen=True)
class Body:
    """Thorax and breasts of one simulated woman, lying prone."""

    thorax_centre: tuple[float, float, float]
    thorax_semi: tuple[float, float, float]
    breasts: tuple[Breast, Breast]

    def thorax_distance(self, point: tuple[Array, Array, Array]) -> Array:
        """Signed distance to the thorax, negative inside."""
        return ellipsoid(point, self.thorax_centre, self.thorax_semi)

    def distance(self, point: tuple[Array, Array, Array]) -> Array:
        """Signed distance to the skin, negative inside."""
        union = self.thorax_distance(point)
        for breast in self.breasts:
            union = blend(union, breast.distance(point))
        return union


def draw_body(rng: np.random.Generator) -> Body:
    """Draw sizes, positions and density; the two breasts are alike but not equal."""
    width = rng.uniform(54, 66)
    depth = rng.uniform(72, 104)
    height = rng.uniform(60, 72)
    apart = rng.uniform(72, 82)
    density = rng.uniform(-0.35, 0.35)
    scale = rng.uniform(0.55, 0.75)
    breasts = []
    for side in (-1, 1):
        wobble = rng.uniform(0.94, 1.06, size=3)
        breasts.append(
            Breast(
                side=side,
                centre=(rng.uniform(-8, 4), rng.uniform(4, 12), side * apart),
                semi=(height * wobble[0], depth * wobble[1], width * wobble[2]),
                gland_scale=scale,
                density=density + rng.uniform(-0.08, 0.08),
            )
        )
    front = rng.uniform(-4, 4)
    return Body(
        thorax_centre=(0.0, front + 112.0, 0.0),
        thorax_semi=(420.0, rng.uniform(108, 116), rng.uniform(150, 162)),
        breasts=(breasts[0], breasts[1]),
    )
