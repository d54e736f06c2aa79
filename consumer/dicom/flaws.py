"""What keeps images from being a volume, in the words of an engineer: for lab and run by hand."""

from __future__ import annotations

from consumer.errors import LabError, MissingAttribute, UnreadableDicom, UnsupportedImage
from messages.phases.flaws import PIXELS_KEYWORD, Flaw, FlawKind
from messages.phases.plausible import Implausible, Measure

_SIZES: dict[Measure, str] = {
    Measure.WIDTH: "reach {found:.6g} mm across the body, more than {limit:.6g} mm",
    Measure.LENGTH: "reach {found:.6g} mm along the body, more than {limit:.6g} mm",
    Measure.FIELD: "are {found:.6g} mm wide, less than {limit:.6g} mm",
    Measure.COARSE_PIXEL: "have pixels {found:.6g} mm apart, more than {limit:.6g} mm",
    Measure.FINE_PIXEL: "have pixels {found:.6g} mm apart, less than {limit:.6g} mm",
    Measure.SLICES: "are {found:.0f} slices, more than {limit:.0f}",
    Measure.WIDE_GAP: "have slices {found:.6g} mm apart, more than {limit:.6g} mm",
    Measure.NARROW_GAP: "have slices {found:.6g} mm apart, less than {limit:.6g} mm",
}


def several_slices(role: str) -> UnsupportedImage:
    """A sheet of slices (`messages.phases.tiled`)."""
    return UnsupportedImage(f"the images of {role} hold several slices in one frame (mosaic)")


def turned_rows(role: str) -> UnsupportedImage:
    """Rows the other way round than the header says (`messages.phases.turned`)."""
    return UnsupportedImage(
        f"the images of {role} are stored with their rows the other way round than the header says "
        "(reversed phase encoding)"
    )


def with_loss(role: str) -> UnsupportedImage:
    """Compressed with loss, as an attribute says."""
    return UnsupportedImage(f"the images of {role} were compressed with loss")


#: Flaws of which no more is to be said than the role.
_OF_A_KIND = {
    FlawKind.TILED: several_slices,
    FlawKind.TURNED: turned_rows,
    FlawKind.LOSSY: with_loss,
}


def no_pixels(role: str) -> MissingAttribute:
    """Not one image of a phase has pixels."""
    return MissingAttribute(f"the images of {role} hold no pixels")


def no_scanner_makes(role: str, size: Implausible) -> UnsupportedImage:
    """A size that is passed (`messages.phases.plausible`), with number and limit."""
    said = _SIZES[size.measure].format(found=size.found, limit=size.limit)
    return UnsupportedImage(f"the images of {role} {said}: no MR scanner makes such images")


def error_of(flaw: Flaw, role: str) -> LabError:
    """What the lab would end with for a phase whose first image has this flaw."""
    if flaw.size is not None:
        return no_scanner_makes(role, flaw.size)
    if flaw.kind in _OF_A_KIND:
        return _OF_A_KIND[flaw.kind](role)
    if flaw.kind is FlawKind.MALFORMED:
        return UnreadableDicom(f"{flaw.keyword} in the images of {role} cannot be read")
    if flaw.keyword == PIXELS_KEYWORD:
        return no_pixels(role)
    return MissingAttribute(f"the images of {role} have no {flaw.keyword}")
