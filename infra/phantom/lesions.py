"""Tumours: where they are, what shape they have, and which voxels they fill."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from infra.phantom import kinetics
from infra.phantom.body import Body, Breast
from infra.phantom.canvas import SIGNAL, Canvas
from infra.phantom.grid import Array, smooth_field, soft
from infra.phantom.presets import Preset

Shape = Literal["round", "irregular", "rim", "non_mass"]
Mask = NDArray[np.bool_]
#: Chance of 0, 1, 2 and 3 tumours where the caller does not say.
COUNT_CHANCES: Final = (0.15, 0.50, 0.25, 0.10)


@dataclass(frozen=True)
class Lesion:
    """One tumour as drawn; `centre` is RAS+ in mm."""

    shape: Shape
    centre: tuple[float, float, float]
    #: Longest extent of the shape that was drawn, mm.
    diameter_mm: float
    #: Volume of its voxels in the truth, ml.
    volume_ml: float


def draw_count(rng: np.random.Generator) -> int:
    """Number of tumours of a study, 0 to 3."""
    return int(rng.choice(len(COUNT_CHANCES), p=COUNT_CHANCES))


def paint_lesions(
    canvas: Canvas, body: Body, preset: Preset, count: int, rng: np.random.Generator
) -> tuple[Mask, list[Lesion]]:
    """Paint `count` tumours; return the truth (slices, rows, cols) and what was drawn."""
    truth = np.zeros(canvas.grid.shape, dtype=bool)
    lesions: list[Lesion] = []
    taken: list[tuple[Array, float]] = []
    for _ in range(count):
        low, high = np.log(preset.diameter_mm)
        diameter = float(np.exp(rng.uniform(low, high)))
        breast = body.breasts[rng.integers(2)]
        centre, diameter = _place(body, breast, diameter, taken, rng)
        taken.append((centre, diameter))
        shape = _draw_shape(preset, diameter, rng)
        voxels = _paint(
            canvas, centre=centre, diameter=diameter, shape=shape, preset=preset, rng=rng
        )
        truth |= voxels
        z, y, x = centre
        volume = float(voxels.sum()) * float(np.prod(canvas.grid.spacing)) / 1000.0
        lesions.append(Lesion(shape, (-x, -y, z), diameter, volume))
    return truth, lesions


def _draw_shape(preset: Preset, diameter: float, rng: np.random.Generator) -> Shape:
    """Draw a shape; small tumours are round or irregular, as nothing finer would show."""
    roll = rng.random()
    if diameter > 14 and roll < preset.non_mass:
        return "non_mass"
    if diameter > 10 and roll < preset.non_mass + preset.rim:
        return "rim"
    return "irregular" if rng.random() < preset.irregular else "round"


def _place(
    body: Body,
    breast: Breast,
    diameter: float,
    taken: list[tuple[Array, float]],
    rng: np.random.Generator,
) -> tuple[Array, float]:
    """Find a centre (z, y, x) under the skin, off the chest wall and off other tumours.

    A tumour that finds no room becomes smaller; prefers glandular tissue.
    """
    z, y, x = breast.centre
    for attempt in range(600):
        if attempt % 60 == 59:
            diameter = max(5.0, 0.85 * diameter)
        step = rng.uniform(-1, 1, size=3) * np.array(breast.semi)
        centre = np.array([z, y - 0.35 * breast.semi[1], x]) + step
        at = (centre[0:1], centre[1:2], centre[2:3])
        roomy = (
            body.distance(at)[0] < -(0.52 * diameter + 5.0)
            and body.thorax_distance(at)[0] > 0.5 * diameter + 2.0
            and abs(centre[0]) < 76.0 - 0.5 * diameter
            and all(np.linalg.norm(centre - c) > (d + diameter) / 2 + 8.0 for c, d in taken)
        )
        if roomy and (breast.gland_distance(at)[0] < 0 or rng.random() < 0.2):
            return centre, diameter
    raise RuntimeError("no room for a tumour in this breast")


def _paint(
    canvas: Canvas,
    *,
    centre: Array,
    diameter: float,
    shape: Shape,
    preset: Preset,
    rng: np.random.Generator,
) -> Mask:
    """Paint one tumour and return its voxels."""
    grid = canvas.grid
    box = grid.box(centre, [diameter / 2 + 3.0] * 3)
    axes = grid.axes_in(box)
    depth = _depth(axes, centre, diameter, shape, rng)
    texture = smooth_field(axes, 4.0, rng)
    if shape == "non_mass":
        # Clumps with normal tissue between them; only the clumps are tumour.
        depth = np.minimum(depth, 2.5 * (texture + 0.7))
    weight = soft(depth, grid.edge_mm)
    curve = kinetics.draw(rng, preset.amplitude, preset.uptake, preset.washout)
    baseline = SIGNAL["gland"] * rng.uniform(0.88, 1.06) * (1.0 + 0.04 * texture)
    if shape == "rim":
        # The centre is necrotic: part of the tumour, but it hardly takes up contrast.
        canvas.paint(weight, 0.8 * baseline, kinetics.Curve(0.3 * curve.amplitude, 0.5, 0.0), box)
        canvas.paint(weight * soft(0.24 * diameter - depth, 1.2), baseline, curve, box)
    else:
        canvas.paint(weight, baseline, curve, box)
    voxels = np.zeros(grid.shape, dtype=bool)
    voxels[box] = weight >= 0.5
    return voxels


def _depth(
    axes: tuple[Array, Array, Array],
    centre: Array,
    diameter: float,
    shape: Shape,
    rng: np.random.Generator,
) -> Array:
    """Depth in mm under a lobulated or spiculated surface; the longest radius is half of it."""
    flat = 0.55 if shape == "non_mass" else 0.75
    semi = np.array([1.0, rng.uniform(flat, 1.0), rng.uniform(flat, 1.0)])
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    offset = np.stack(
        np.broadcast_arrays(*(a - c for a, c in zip(axes, centre, strict=True))), axis=-1
    )
    local = offset @ turn / semi
    radius = np.linalg.norm(local, axis=-1)
    direction = local / np.maximum(radius, 1e-6)[..., None]
    bumps = rng.standard_normal((12, 3))
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    spiky = shape in ("irregular", "non_mass")
    heights = rng.uniform(0.05, 0.40 if spiky else 0.14, size=12)
    powers = rng.uniform(4, 24, size=12) if spiky else rng.uniform(3, 6, size=12)
    surface = np.full(radius.shape, 1.0)
    for bump, height, power in zip(bumps, heights, powers, strict=True):
        surface += height * np.maximum(direction @ bump, 0.0) ** power
    surface /= 1.0 + float(heights.max())
    return np.asarray((surface - radius * 2 / diameter) * diameter / 2 * float(semi.min()))
