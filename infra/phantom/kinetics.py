"""How the signal of each tissue changes after the contrast agent arrives."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from infra.phantom.grid import Array

#: Minutes after the injection at the centre of each phase; the first is before it.
PHASE_MINUTES: Final = (-1.0, 1.5, 3.0, 6.0)


@dataclass(frozen=True)
class Curve:
    """Relative enhancement E(t) = amplitude (1 - exp(-uptake t)) exp(-washout t), t in minutes.

    The empirical mathematical model of Fan, Medved, Karczmar et al. for breast DCE-MRI. A
    negative `washout` keeps rising (a persistent curve).
    """

    amplitude: float
    uptake: float
    washout: float

    def enhancement(self) -> tuple[float, ...]:
        """Relative enhancement at the four phases; the first is 0."""
        minutes = np.maximum(np.array(PHASE_MINUTES), 0.0)
        rise = 1.0 - np.exp(-self.uptake * minutes)
        return tuple((self.amplitude * rise * np.exp(-self.washout * minutes)).tolist())

    def phases(self, baseline: Array | float) -> tuple[Array | float, ...]:
        """Signal at the four phases for a pre-contrast `baseline`."""
        return tuple(baseline * (1.0 + e) for e in self.enhancement())


#: Tissues that are not lesions. Amplitudes are for a spoiled gradient echo at 0.1 mmol/kg.
FAT: Final = Curve(0.04, 0.5, 0.0)
SKIN: Final = Curve(0.45, 0.7, 0.0)
MUSCLE: Final = Curve(0.22, 0.8, 0.0)
MYOCARDIUM: Final = Curve(1.1, 3.0, 0.06)
BLOOD: Final = Curve(2.1, 8.0, 0.07)
LUNG: Final = Curve(0.3, 3.0, 0.05)
LIVER: Final = Curve(0.8, 0.9, 0.02)
NIPPLE: Final = Curve(0.8, 0.9, 0.0)
VESSEL: Final = Curve(1.7, 6.0, 0.06)
NODE: Final = Curve(1.3, 1.6, 0.03)
#: One unit of background parenchymal enhancement: slow and persistent.
BACKGROUND: Final = Curve(1.0, 0.35, 0.0)
STILL: Final = Curve(0.0, 1.0, 0.0)


def draw(
    rng: np.random.Generator,
    amplitude: tuple[float, float],
    uptake: tuple[float, float],
    washout: tuple[float, float],
) -> Curve:
    """Draw a curve with each parameter uniform in its range."""
    return Curve(rng.uniform(*amplitude), rng.uniform(*uptake), rng.uniform(*washout))
