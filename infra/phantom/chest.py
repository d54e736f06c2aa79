"""The chest behind the breasts: muscle, ribs, lungs, liver, heart, vessels and spine."""

import numpy as np

from infra.phantom import kinetics
from infra.phantom.body import Body, ellipsoid
from infra.phantom.canvas import SIGNAL, Canvas
from infra.phantom.grid import Array, soft


def paint_chest(canvas: Canvas, body: Body, thorax: Array, texture: Array) -> None:
    """Paint from the outside in. `thorax` is the signed distance to the chest in mm."""
    front = body.thorax_centre[1] - body.thorax_semi[1]
    _paint_wall(canvas, front, thorax, texture)
    edge = canvas.grid.edge_mm
    # Nothing of the inside lies in front of this row: half the work saved.
    box = canvas.grid.box((0.0, front + 130.0, 0.0), (1e3, 104.0, 1e3))
    lung = SIGNAL["lung"] * (1.0 + 0.3 * texture[box])
    canvas.paint(soft(-thorax[box] - 34.0, edge), lung, kinetics.LUNG, box)
    middle = (0.0, front + 88.0, 4.0)
    canvas.paint_ellipsoid(middle, (400.0, 64.0, 26.0), SIGNAL["fat"], kinetics.FAT)
    _paint_liver(canvas, front, thorax, texture)
    heart = (-18.0, front + 74.0, 26.0)
    canvas.paint_ellipsoid(heart, (56.0, 38.0, 48.0), SIGNAL["heart"], kinetics.MYOCARDIUM)
    left, right = (-20.0, front + 78.0, 44.0), (-14.0, front + 70.0, 4.0)
    canvas.paint_ellipsoid(left, (36.0, 22.0, 19.0), SIGNAL["blood"], kinetics.BLOOD)
    canvas.paint_ellipsoid(right, (40.0, 24.0, 17.0), SIGNAL["blood"], kinetics.BLOOD)
    spine = (0.0, front + 176.0, 2.0)
    canvas.paint_ellipsoid(spine, (4000.0, 24.0, 30.0), 1.4 * SIGNAL["bone"], kinetics.MUSCLE)
    # The aorta, and the internal mammary vessels beside the sternum.
    for across, deep, radius in ((24.0, 146.0, 11.0), (-22.0, 25.0, 1.7), (22.0, 25.0, 1.7)):
        canvas.paint_tube(across, front + deep, radius, SIGNAL["blood"])


def _paint_wall(canvas: Canvas, front: float, thorax: Array, texture: Array) -> None:
    """Paint the pectoral muscles, the wall of the chest, ribs and sternum."""
    grid, edge = canvas.grid, canvas.grid.edge_mm
    box = grid.box((0.0, front + 200.0, 0.0), (1e3, 202.0, 1e3))
    z, y, x = point = grid.axes_in(box)
    depth = -thorax[box]
    wall = np.minimum(depth - 14.0, 34.0 - depth)
    for side in (-1, 1):
        pectoral = ellipsoid(point, (10.0, front + 16.0, side * 74.0), (75.0, 9.0, 52.0))
        np.maximum(wall, -pectoral, out=wall)
    stripes = SIGNAL["muscle"] * (1.0 + 0.06 * texture[box])
    canvas.paint(soft(wall, edge), stripes, kinetics.MUSCLE, box)
    # Ribs slope down to the front: dark stripes in the inner half of the wall.
    rib = np.cos(2 * np.pi * (z + 0.35 * np.abs(x) - 0.2 * y) / 27.0)
    ribs = np.minimum(np.minimum(depth - 21.0, 32.0 - depth), 8.0 * (rib - 0.45))
    canvas.paint(soft(ribs, edge), SIGNAL["bone"], kinetics.STILL, box)
    sternum = (20.0, front + 17.0, 0.0)
    canvas.paint_ellipsoid(sternum, (80.0, 6.0, 17.0), 1.3 * SIGNAL["bone"], kinetics.STILL)


def _paint_liver(canvas: Canvas, front: float, thorax: Array, texture: Array) -> None:
    """Paint the dome of the liver, on the right, inside the wall of the chest."""
    grid = canvas.grid
    centre, semi = (-118.0, front + 100.0, -62.0), (78.0, 66.0, 74.0)
    box = grid.box(centre, semi)
    dome = -ellipsoid(grid.axes_in(box), centre, semi)
    depth = np.minimum(dome, -thorax[box] - 33.0)
    liver = SIGNAL["liver"] * (1.0 + 0.04 * texture[box])
    canvas.paint(soft(depth, grid.edge_mm), liver, kinetics.LIVER, box)
