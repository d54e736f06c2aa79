"""How easy a study is: the two presets and every number that they change."""

from dataclasses import dataclass
from typing import Final, Literal

PresetName = Literal["plain", "hard"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """Ranges from which a study is drawn. Lengths in mm, rates in 1/min."""

    name: PresetName
    #: Relative enhancement of tumours, and how fast they take up and wash out.
    amplitude: Range
    uptake: Range
    washout: Range
    #: Largest tumour diameter and smallest: log-uniform between them.
    diameter_mm: Range
    #: Share of tumours with an irregular, a rim-enhancing and a non-mass shape.
    irregular: float
    rim: float
    non_mass: float
    #: Background parenchymal enhancement at saturation, relative to the baseline.
    background: Range
    #: Standard deviation of each noise channel; glandular tissue has about 300.
    noise: Range
    #: Logarithmic amplitude of the bias field.
    bias: Range
    #: Largest shift of a phase against the first post-contrast one.
    motion_mm: Range
    #: Look-alikes in each breast: vessels, small foci; nodes in each armpit.
    vessels: tuple[int, int]
    vessel_radius_mm: Range
    foci: tuple[int, int]
    nodes: tuple[int, int]


PLAIN: Final = Preset(
    name="plain",
    amplitude=(1.3, 2.1),
    uptake=(1.5, 4.0),
    washout=(0.03, 0.14),
    diameter_mm=(5.0, 40.0),
    irregular=0.3,
    rim=0.1,
    non_mass=0.0,
    background=(0.10, 0.30),
    noise=(6.0, 12.0),
    bias=(0.08, 0.18),
    motion_mm=(0.2, 0.9),
    vessels=(2, 4),
    vessel_radius_mm=(0.7, 1.4),
    foci=(0, 2),
    nodes=(0, 1),
)

HARD: Final = Preset(
    name="hard",
    amplitude=(0.8, 1.5),
    uptake=(0.8, 3.0),
    washout=(-0.01, 0.10),
    diameter_mm=(5.0, 40.0),
    irregular=0.6,
    rim=0.25,
    non_mass=0.3,
    background=(0.35, 0.75),
    noise=(13.0, 24.0),
    bias=(0.15, 0.30),
    motion_mm=(0.8, 2.5),
    vessels=(4, 7),
    vessel_radius_mm=(0.8, 2.0),
    foci=(3, 9),
    nodes=(1, 3),
)

PRESETS: Final[dict[PresetName, Preset]] = {"plain": PLAIN, "hard": HARD}
