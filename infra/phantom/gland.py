"""Fibroglandular tissue and its background enhancement."""

from dataclasses import dataclass

import numpy as np

from infra.phantom import kinetics
from infra.phantom.body import Body
from infra.phantom.canvas import SIGNAL, Canvas
from infra.phantom.grid import Array, smooth_field, soft
from infra.phantom.presets import Preset


@dataclass(frozen=True)
class Surfaces:
    """Where tissues may lie, each (slices, rows, cols)."""

    #: Signed distances in mm to the skin and to the thorax, negative inside.
    skin: Array
    thorax: Array
    #: Smooth noise with features of 22, 7 and 3.5 mm.
    noise: tuple[Array, ...]


def paint_gland(
    canvas: Canvas, body: Body, preset: Preset, surfaces: Surfaces, rng: np.random.Generator
) -> None:
    """Paint glandular tissue; how much of it enhances varies from place to place."""
    point = canvas.grid.axes
    coarse, middle, fine = surfaces.noise
    background = rng.uniform(*preset.background)
    nodular = smooth_field(point, 9.0, rng)
    texture = 0.5 * coarse + 0.55 * middle + 0.35 * fine - 0.35
    total = np.zeros(canvas.grid.shape)
    for breast in body.breasts:
        box = canvas.grid.box(breast.centre, 1.2 * np.array(breast.semi))
        reach = -breast.gland_distance(canvas.grid.axes_in(box))
        # Texture decides inside the region; its rim and the layer under the skin stay fat.
        inside = texture[box] + breast.density + np.clip(reach / 14.0, -3.0, 0.9)
        part = total[box]
        np.maximum(part, soft(inside, 0.35), out=part)
    total *= soft(-surfaces.skin - 7.0, 2.5) * soft(surfaces.thorax + 3.0, 3.0)
    strength = background * np.clip(0.75 + 0.45 * nodular, 0.15, 2.0)
    baseline = SIGNAL["gland"] * (1.0 + 0.05 * nodular + 0.04 * fine)
    for phase, gain in zip(canvas.signal, kinetics.BACKGROUND.enhancement(), strict=True):
        phase += total * (baseline * (1.0 + strength * gain) - phase)  # noqa: PLW2901 - in place
