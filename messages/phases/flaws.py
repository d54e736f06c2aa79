"""What keeps the images of a phase from being a volume, as far as one of them tells it.

The lab looks at every image; the site and a run by hand look at the first one of each phase, whose
attributes they read anyway. All three go by the tables here, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from messages.failures import FailureCode
from messages.phases.frames import text_of
from messages.phases.plausible import Implausible, Measure
from messages.phases.tiled import holds_several_slices
from messages.phases.turned import ROWS_TURNED

#: SOP classes of MR images (PS3.4 B.5): classic, and the two with functional groups.
CLASSIC_MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = frozenset({"1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"})

#: Attributes that say what the pixels are (PS3.3 C.7.6.3), of every MR image.
PIXEL_KEYWORDS: tuple[str, ...] = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)

#: Attributes that say where a slice lies (C.7.6.2), and how many numbers each holds. Enhanced MR
#: says them in functional groups.
PLACE_KEYWORDS: dict[str, int] = {
    "ImageOrientationPatient": 6,
    "ImagePositionPatient": 3,
    "PixelSpacing": 2,
}

#: That the functional groups of a frame were read, by no DICOM keyword: only then it is known what
#: they lack.
_GROUPS_READ = "GroupsRead"

#: In which space that place is (C.7.4.1). Empty, it says no more than absent: of two phases that
#: say nothing it is not known that they lie in the same one (decision 0027).
SPACE_KEYWORD = "FrameOfReferenceUID"

#: The pixels themselves. Both sides note by this name that they are there, whatever they hold.
PIXELS_KEYWORD = "PixelData"

#: All of them, in the order in which they are missed.
NEEDED_KEYWORDS: tuple[str, ...] = (
    *PIXEL_KEYWORDS,
    *PLACE_KEYWORDS,
    SPACE_KEYWORD,
    PIXELS_KEYWORD,
)

#: Whether an image was ever compressed with loss (C.7.6.1.1.5): 01 where it was.
LOSS_KEYWORD, LOST = "LossyImageCompression", "01"

#: Of these the number itself is used: whole, and above 0.
_COUNTS = frozenset({"Rows", "Columns", "BitsAllocated"})


class FlawKind(StrEnum):
    """What is wrong; the first that applies is told."""

    #: Several slices lie in one frame of a classic image.
    TILED = "tiled"
    #: The rows of a classic image are stored the other way round than its header says.
    TURNED = "turned"
    #: Compressed with loss, now or before.
    LOSSY = "lossy"
    #: An attribute that a volume needs is absent or empty.
    MISSING = "missing"
    #: Such an attribute is there, and is not what it must be.
    MALFORMED = "malformed"
    #: The volume has a size that no scanner makes.
    IMPLAUSIBLE = "implausible"


#: With which code the lab ends, and the site refuses.
FLAW_CODES: dict[FlawKind, FailureCode] = {
    FlawKind.TILED: FailureCode.UNSUPPORTED_IMAGE,
    FlawKind.TURNED: FailureCode.UNSUPPORTED_IMAGE,
    FlawKind.LOSSY: FailureCode.UNSUPPORTED_IMAGE,
    FlawKind.MISSING: FailureCode.MISSING_ATTRIBUTE,
    FlawKind.MALFORMED: FailureCode.UNREADABLE_DICOM,
    FlawKind.IMPLAUSIBLE: FailureCode.UNSUPPORTED_IMAGE,
}


@dataclass(frozen=True)
class Flaw:
    """One reason why no volume can be made."""

    kind: FlawKind
    #: The attribute that is missing or malformed.
    keyword: str = ""
    #: The size that no scanner makes.
    size: Implausible | None = None

    @property
    def code(self) -> FailureCode:
        """The code of a request for such images."""
        return FLAW_CODES[self.kind]

    @property
    def measure(self) -> Measure | None:
        """What has a size that no scanner makes."""
        return None if self.size is None else self.size.measure


def flaw_of(head: Mapping[str, str]) -> Flaw | None:
    """What is wrong with an image; `head` are its attributes by keyword, as text, None if nothing.

    Nothing is said of a head without a SOP class, which nobody could read, and of the place of a
    frame of Enhanced MR unless its functional groups were read (`places_of_frame`).
    """
    sop_class = head.get("SOPClassUID", "")
    classic = sop_class == CLASSIC_MR
    if not classic and sop_class not in ENHANCED_MR:
        return None
    if classic and holds_several_slices(head):
        return Flaw(FlawKind.TILED)
    if classic and head.get(ROWS_TURNED):
        return Flaw(FlawKind.TURNED)
    if head.get(LOSS_KEYWORD) == LOST:
        return Flaw(FlawKind.LOSSY)
    placed = classic or _GROUPS_READ in head
    needed = [key for key in NEEDED_KEYWORDS if placed or key not in PLACE_KEYWORDS]
    for keyword in needed:
        if not head.get(keyword):
            return Flaw(FlawKind.MISSING, keyword)
    return next((Flaw(FlawKind.MALFORMED, key) for key in needed if _malformed(key, head)), None)


def places_of_frame(
    position: Sequence[float] | None,
    orientation: Sequence[float] | None,
    spacing: Sequence[float] | None,
) -> dict[str, str]:
    """What a frame of Enhanced MR says of its place, as `flaw_of` reads it of a classic image."""
    found = zip(PLACE_KEYWORDS, (orientation, position, spacing), strict=True)
    texts = {
        keyword: "\\".join(map(str, values)) for keyword, values in found if values is not None
    }
    return {_GROUPS_READ: "yes", **texts}


def pixels_of(tags: Mapping[str, Any]) -> str:
    """A word where the tags of an object, as an archive tells them, name pixels; else nothing."""
    # Their value is not told.
    return "there" if PIXELS_KEYWORD in tags else ""


def texts_of(tags: Mapping[str, Any], keywords: Sequence[str]) -> dict[str, str]:
    """The text of those keywords that an object has, and whether it has pixels."""
    found = {name: text for name in keywords if (text := text_of(tags, name))}
    pixels = pixels_of(tags)
    return found | ({PIXELS_KEYWORD: pixels} if pixels else {})


def _malformed(keyword: str, head: Mapping[str, str]) -> bool:
    text = head[keyword]
    if keyword in _COUNTS:
        return not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= 65_535)
    count = PLACE_KEYWORDS.get(keyword)
    if count is None:
        return False
    try:
        values = [float(part) for part in text.split("\\")]
    except ValueError:
        return True
    if len(values) != count or not all(map(math.isfinite, values)):
        return True
    return keyword == "PixelSpacing" and min(values) <= 0
