"""What enhances in a breast and is no tumour: vessels, small foci, lymph nodes."""

import numpy as np

from infra.phantom import kinetics
from infra.phantom.body import Body, Breast
from infra.phantom.canvas import SIGNAL, Canvas
from infra.phantom.grid import Array, Box, Grid, soft
from infra.phantom.presets import Preset


def paint_lookalikes(canvas: Canvas, body: Body, preset: Preset, rng: np.random.Generator) -> None:
    """Paint the vessels, foci and nodes of a study."""
    tree = np.zeros(canvas.grid.shape)
    for breast in body.breasts:
        for _ in range(rng.integers(*preset.vessels, endpoint=True)):
            _add_vessel(tree, canvas.grid, breast, rng.uniform(*preset.vessel_radius_mm), rng)
    canvas.paint(tree, SIGNAL["blood"], kinetics.VESSEL)
    for breast in body.breasts:
        for _ in range(rng.integers(*preset.foci, endpoint=True)):
            _paint_focus(canvas, _inside(breast, rng, 0.55), rng)
        for _ in range(rng.integers(*preset.nodes, endpoint=True)):
            # The armpit: to the side, at the chest wall, near the upper end of the breast.
            centre = np.array(
                [
                    rng.uniform(30, 70),
                    rng.uniform(26, 52),
                    breast.side * rng.uniform(112, 132),
                ]
            )
            _paint_node(canvas, centre, rng.uniform(3.5, 7.0), rng)
        if preset.name == "hard" and rng.random() < 0.25:
            centre = _inside(breast, rng, 0.5) + np.array([14.0, 10.0, breast.side * 14.0])
            _paint_node(canvas, centre, rng.uniform(2.6, 3.8), rng)


def _inside(breast: Breast, rng: np.random.Generator, reach: float) -> Array:
    """Draw a point (z, y, x) in the middle of a breast, up to `reach` of its half axes away."""
    direction = rng.standard_normal(3)
    direction *= reach * rng.random() ** (1 / 3) / np.linalg.norm(direction)
    z, y, x = breast.centre
    return np.asarray(np.array([z, y - 0.35 * breast.semi[1], x]) + direction * breast.semi)


def _add_vessel(
    tree: Array, grid: Grid, breast: Breast, radius_mm: float, rng: np.random.Generator
) -> None:
    """Add a tapering, winding tube from the chest wall towards the nipple to `tree`."""
    place = np.array(breast.centre) + rng.uniform(-0.55, 0.55, size=3) * np.array(breast.semi)
    place[1] = breast.centre[1] + rng.uniform(-8, 6)
    target = np.array(breast.nipple) + np.array([0.0, 0.2 * breast.semi[1], 0.0])
    target += rng.standard_normal(3) * np.array([16.0, 8.0, 16.0])
    heading = target - place
    heading /= np.linalg.norm(heading)
    for _ in range(rng.integers(9, 16)):
        pull = target - place
        if np.linalg.norm(pull) < 8.0:
            return
        heading = heading + 0.35 * pull / np.linalg.norm(pull) + 0.35 * rng.standard_normal(3)
        heading /= np.linalg.norm(heading)
        end = place + 7.0 * heading
        _add_segment(tree, grid, place, end, radius_mm)
        place, radius_mm = end, 0.96 * radius_mm


def _add_segment(tree: Array, grid: Grid, start: Array, end: Array, radius_mm: float) -> None:
    """Add one straight piece with round ends."""
    box = grid.box((start + end) / 2, np.abs(end - start) / 2 + radius_mm + 2.0)
    point = np.stack(np.broadcast_arrays(*grid.axes_in(box)), axis=-1) - start
    line = end - start
    along = np.clip(point @ line / (line @ line), 0.0, 1.0)
    gap = np.linalg.norm(point - along[..., None] * line, axis=-1)
    tree[box] = np.maximum(tree[box], soft(radius_mm - gap, grid.edge_mm))


def _paint_focus(canvas: Canvas, centre: Array, rng: np.random.Generator) -> None:
    """Paint a dot under 5 mm with slow, persistent uptake."""
    radius = rng.uniform(1.0, 2.0)
    curve = kinetics.draw(rng, (0.6, 1.0), (0.4, 0.9), (-0.03, 0.0))
    box = canvas.grid.box(centre, [radius + 2.0] * 3)
    gap = _gap(canvas.grid, box, centre, np.ones(3))
    canvas.paint(soft(radius - gap, canvas.grid.edge_mm), SIGNAL["gland"], curve, box)


def _paint_node(canvas: Canvas, centre: Array, radius_mm: float, rng: np.random.Generator) -> None:
    """Paint an oval node whose fatty hilum stays dark."""
    stretch = np.array([1.0, 1.0, 1.5]) * rng.uniform(0.9, 1.1, size=3)
    box = canvas.grid.box(centre, [1.8 * radius_mm + 2.0] * 3)
    gap = _gap(canvas.grid, box, centre, stretch)
    edge = canvas.grid.edge_mm
    canvas.paint(soft(radius_mm - gap, edge), SIGNAL["muscle"], kinetics.NODE, box)
    hilum = centre + rng.standard_normal(3) * 0.15 * radius_mm
    gap = _gap(canvas.grid, box, hilum, stretch)
    canvas.paint(soft(0.5 * radius_mm - gap, edge), SIGNAL["fat"], kinetics.FAT, box)


def _gap(grid: Grid, box: Box, centre: Array, stretch: Array) -> Array:
    """Distance in mm of each voxel of `box` from `centre`, with axes stretched."""
    z, y, x = (
        (axis - c) / s for axis, c, s in zip(grid.axes_in(box), centre, stretch, strict=True)
    )
    return np.asarray(np.sqrt(z**2 + y**2 + x**2))
