"""Paints the tissues of a body, lesions aside: fat, skin, gland, nipple, chest."""

from typing import Final

import numpy as np

from infra.phantom import kinetics
from infra.phantom.body import Body
from infra.phantom.canvas import SIGNAL, Canvas
from infra.phantom.chest import paint_chest
from infra.phantom.gland import Surfaces, paint_gland
from infra.phantom.grid import smooth_field, soft
from infra.phantom.presets import Preset

#: Thickness of the skin, mm.
SKIN_MM: Final = 2.2


def paint_body(canvas: Canvas, body: Body, preset: Preset, rng: np.random.Generator) -> None:
    """Paint everything but lesions and look-alikes, from the outside in."""
    grid = canvas.grid
    point = grid.axes
    noise = tuple(smooth_field(point, length, rng) for length in (22.0, 7.0, 3.5))
    coarse, middle, _ = noise
    thorax = body.thorax_distance(point)
    skin = body.distance(point) + 0.8 * coarse
    inside = soft(-skin, grid.edge_mm)
    # Fat suppression is never even: the field decides how much fat shines through.
    fat = SIGNAL["fat"] * (1.0 + 0.16 * coarse + 0.10 * middle)
    canvas.paint(inside, fat, kinetics.FAT)
    paint_gland(canvas, body, preset, Surfaces(skin, thorax, noise), rng)
    rind = inside * (1.0 - soft(-skin - SKIN_MM, grid.edge_mm))
    canvas.paint(rind, SIGNAL["skin"], kinetics.SKIN)
    for breast in body.breasts:
        canvas.paint_ellipsoid(breast.nipple, (5.0, 6.0, 5.0), SIGNAL["nipple"], kinetics.NIPPLE)
    paint_chest(canvas, body, thorax, middle)
