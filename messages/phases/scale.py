"""On which scale the phases of a request are stored, so that their signal can be compared.

docs/decisions/0030-phases-on-one-scale.md says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Share by which two products of slopes may differ and be one: slopes are decimal text of six or
#: more digits, and the private one is in single precision.
_SAME_SCALE = 1e-5

#: Times by which the scales of two phases may differ. Philips scales differ by less than ten; what
#: is beyond this is no scale.
_MOST = 1e4


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

    #: RescaleSlope and RescaleIntercept (PS3.3 C.11.1.1.2).
    slope: float | None = None
    intercept: float | None = None
    #: Philips' Scale Slope, (2005,xx0E) of "Philips MR Imaging DD 001".
    scale_slope: float | None = None
    #: Manufacturer (0008,0070).
    manufacturer: str = ""

    @property
    def product(self) -> float | None:
        """What the displayed value is divided by to get the floating point value, or None.

        Philips: FP = DV / (RescaleSlope x ScaleSlope), with DV = SV x RescaleSlope +
        RescaleIntercept (Chenevert et al., Transl Oncol 2014; 7:65-71).
        """
        if self.scale_slope is None or self.slope is None:
            return None
        product = self.slope * self.scale_slope
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
        (one.slope, one.intercept, one.scale_slope)
        for one in slices
        if one.scale_slope is not None or _may_be_philips(one.manufacturer)
    ]
    alike = all(_alike(values) for values in zip(*displayed, strict=True))
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


def _alike(values: Sequence[float | None]) -> bool:
    stated = [value for value in values if value is not None]
    return all(
        math.isclose(stated[0], value, rel_tol=_SAME_SCALE, abs_tol=_SAME_SCALE) for value in stated
    )
