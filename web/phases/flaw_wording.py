"""What keeps images from being a volume, as sentences in the reader's language."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messages.phases.flaws import PIXELS_KEYWORD, Flaw, FlawKind
from messages.phases.plausible import Implausible, Measure

#: What a reader may know an attribute by; its keyword stands behind for who mends the images.
_ATTRIBUTES: dict[str, Promise] = {
    "Rows": gettext_lazy("number of rows"),
    "Columns": gettext_lazy("number of columns"),
    "SamplesPerPixel": gettext_lazy("number of colour channels"),
    "PhotometricInterpretation": gettext_lazy("colour model"),
    "BitsAllocated": gettext_lazy("bits of a pixel"),
    "BitsStored": gettext_lazy("stored bits of a pixel"),
    "HighBit": gettext_lazy("highest bit of a pixel"),
    "PixelRepresentation": gettext_lazy("sign of the pixel values"),
    "ImageOrientationPatient": gettext_lazy("orientation"),
    "ImagePositionPatient": gettext_lazy("position"),
    "PixelSpacing": gettext_lazy("pixel spacing"),
    "FrameOfReferenceUID": gettext_lazy("frame of reference"),
}

_SIZES: dict[Measure, Promise] = {
    Measure.WIDTH: gettext_lazy(
        "No MR scanner makes images that reach %(found)s mm across the body (at most %(limit)s mm)."
    ),
    Measure.LENGTH: gettext_lazy(
        "No MR scanner makes images that reach %(found)s mm along the body (at most %(limit)s mm)."
    ),
    Measure.FIELD: gettext_lazy(
        "No MR scanner makes images that are %(found)s mm wide (at least %(limit)s mm)."
    ),
    Measure.COARSE_PIXEL: gettext_lazy(
        "No MR scanner makes pixels that lie %(found)s mm apart (at most %(limit)s mm)."
    ),
    Measure.FINE_PIXEL: gettext_lazy(
        "No MR scanner makes pixels that lie %(found)s mm apart (at least %(limit)s mm)."
    ),
    Measure.SLICES: gettext_lazy(
        "No MR scanner makes %(found)s slices of one phase (at most %(limit)s)."
    ),
    Measure.WIDE_GAP: gettext_lazy(
        "No MR scanner makes slices that lie %(found)s mm apart (at most %(limit)s mm)."
    ),
    Measure.NARROW_GAP: gettext_lazy(
        "No MR scanner makes slices that lie %(found)s mm apart (at least %(limit)s mm)."
    ),
}


#: Flaws of which no more is to be said: in the table of series, and of a choice.
_LEFT_OUT = {
    FlawKind.TILED: gettext_lazy("Several slices in one image (mosaic)"),
    FlawKind.TURNED: gettext_lazy("Rows stored the other way round than the header says"),
    FlawKind.LOSSY: gettext_lazy("Compressed with loss"),
}
_REFUSED = {
    FlawKind.TILED: gettext_lazy(
        "Each image of a chosen series holds several slices side by side (mosaic), so it cannot "
        "be analysed."
    ),
    FlawKind.TURNED: gettext_lazy(
        "The images of a chosen series are stored with their rows the other way round than their "
        "header says, so they cannot be analysed."
    ),
    FlawKind.LOSSY: gettext_lazy("The images of a chosen series were compressed with loss."),
}


def left_out_for(flaw: Flaw) -> str:
    """Why a series with this flaw takes no part, for the table of series."""
    if flaw.size is not None:
        return _size(flaw.size)
    if flaw.kind in _LEFT_OUT:
        return str(_LEFT_OUT[flaw.kind])
    if flaw.keyword == PIXELS_KEYWORD:
        return _("The images hold no pixels")
    names = {"attribute": _attribute(flaw.keyword)}
    if flaw.kind is FlawKind.MALFORMED:
        return _("The images have an unreadable attribute: %(attribute)s") % names
    return _("The images lack an attribute: %(attribute)s") % names


def refused_for(flaw: Flaw) -> str:
    """Why a series with this flaw that was chosen is not analysed."""
    if flaw.size is not None:
        return _size(flaw.size)
    if flaw.kind in _REFUSED:
        return str(_REFUSED[flaw.kind])
    if flaw.keyword == PIXELS_KEYWORD:
        return _("The images of a chosen series hold no pixels.")
    names = {"attribute": _attribute(flaw.keyword)}
    if flaw.kind is FlawKind.MALFORMED:
        return _("An attribute of a chosen series cannot be read: %(attribute)s.") % names
    return _("The images of a chosen series lack an attribute: %(attribute)s.") % names


def _attribute(keyword: str) -> str:
    known = _ATTRIBUTES.get(keyword)
    return keyword if known is None else f"{known} ({keyword})"


def _size(size: Implausible) -> str:
    numbers = {"found": f"{size.found:.4g}", "limit": f"{size.limit:.4g}"}
    return str(_SIZES[size.measure]) % numbers
