"""On which scale the phases of a request are stored, so that their signal can be compared.

docs/decisions/0030-phases-on-one-scale.md says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Share by which two slopes may differ and be one: they are decimal text of six or more digits, and
#: the private one is in single precision.
_SAME_SCALE = 1e-5

#: What two intercepts may differ by besides, in displayed values: mostly they are 0, of which there
#: is no share. Slopes have no such room: Philips' may be as small as this.
_SAME_INTERCEPT = 1e-5

#: Times by which the scales of two phases may differ. Philips scales differ by less than ten; what
#: is beyond this is no scale.
_MOST = 1e4

#: Philips' private Scale Slope (FL): element 0E of a block of group 2005 that this creator reserved
#: (PS3.5 section 7.8.1).
SCALE_GROUP = 0x2005
SCALE_CREATOR = "Philips MR Imaging DD 001"
SCALE_ELEMENT = 0x0E

#: Blocks of that group that are looked at. Philips writes 10 to 15.
SCALE_BLOCKS = range(0x10, 0x18)


class Scale(StrEnum):
    """How the signal of the phases compares, after the rescale of each."""

    #: As it is: one scale, or nothing says that there are several.
    ONE = "one"
    #: Each phase has its own, and all state it: they are brought to that of the first.
    FIRST_PHASE = "first_phase"
    #: They differ, and not all of them state by how much.
    DIFFERENT = "different"


@dataclass(frozen=True)
class Stored:
    """What one slice states of its scale; None for what it does not state."""

    #: RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2). Stored values without them are the
    #: displayed ones: absent, they are 1 and 0.
    slope: float | None = None
    intercept: float | None = None
    #: Philips' Scale Slope, (2005,xx0E) of "Philips MR Imaging DD 001".
    scale_slope: float | None = None
    #: Manufacturer (0008,0070).
    manufacturer: str = ""

    @property
    def applied(self) -> tuple[float, float]:
        """Slope and intercept as the reader applies them."""
        return (
            1.0 if self.slope is None else self.slope,
            0.0 if self.intercept is None else self.intercept,
        )

    @property
    def product(self) -> float | None:
        """What the displayed value is divided by to get the floating point value, or None.

        Philips: FP = DV / (RescaleSlope x ScaleSlope), with DV = SV x RescaleSlope +
        RescaleIntercept (Chenevert et al., Transl Oncol 2014; 7:65-71).
        """
        if self.scale_slope is None:
            return None
        product = self.applied[0] * self.scale_slope
        return product if math.isfinite(product) and product > 0 else None


def scale_of(phases: Sequence[Sequence[Stored]]) -> Scale:
    """How the phases of a request compare; of each phase its slices are given."""
    slices = [one for phase in phases for one in phase]
    if len(phases) < 2 or not slices:
        return Scale.ONE
    products = [one.product for one in slices]
    known = [product for product in products if product is not None]
    if len(known) == len(products):
        if all(math.isclose(known[0], product, rel_tol=_SAME_SCALE) for product in known):
            return Scale.ONE
        return Scale.FIRST_PHASE if max(known) <= _MOST * min(known) else Scale.DIFFERENT
    # The rescale of others is what makes their signal comparable. Philips' is chosen for display,
    # and who is not named may be Philips.
    displayed = [
        one for one in slices if one.scale_slope is not None or _may_be_philips(one.manufacturer)
    ]
    slopes = [one.applied[0] for one in displayed]
    intercepts = [one.applied[1] for one in displayed]
    # Only a Scale Slope is nowhere to be had where it is not stated.
    stated = [one.scale_slope for one in displayed if one.scale_slope is not None]
    alike = _alike(slopes) and _alike(intercepts, _SAME_INTERCEPT) and _alike(stated)
    return Scale.ONE if alike else Scale.DIFFERENT


def factor_of(one: Stored, first: Stored) -> float:
    """What brings the displayed values of a slice to the scale of `first`.

    Both state their scale: `scale_of` says `Scale.FIRST_PHASE`.
    """
    if one.product is None or first.product is None:
        raise ValueError("a slice does not state its scale")
    return first.product / one.product


def _may_be_philips(manufacturer: str) -> bool:
    name = manufacturer.strip(" \0").lower()
    return not name or "philips" in name


def _alike(values: Sequence[float], room: float = 0.0) -> bool:
    return all(
        math.isclose(values[0], value, rel_tol=_SAME_SCALE, abs_tol=room) for value in values
    )
