"""Key slices: pictures (Secondary Capture) for viewers that show no SEG, the outline burnt in."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from highdicom.sc import SCImage
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from scipy.ndimage import binary_dilation, generate_binary_structure

from consumer.result.filing import file_alike
from consumer.result.origin import (
    complete,
    description,
    equipment,
    series_number,
    stored_model,
)
from consumer.result.provenance import made_by, stamp_alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from consumer.dicom.enhanced import Image
    from consumer.payloads import Grid, ResultSpec
    from consumer.result.lesions import Lesion

#: Pixels of the shorter side, at least: text on a slice of 256 x 256 could not be read.
_SHORTER_SIDE = 512

#: Percentiles of the voxels that become black and white: a few bright vessels must not darken all.
#: A quarter of them says the same, and sooner.
_WINDOW = (1.0, 99.7)

_SAMPLE = np.s_[:, ::2, ::2]

#: Pixels of the longer side, at most: a picture is to be looked at, and has 65535 as its limit.
_LONGER_SIDE = 4096

#: Colour of the outline, which no grey image has.
_OUTLINE = (255, 210, 0)

#: Letters of PS3.3 section C.7.6.1.1.1 for the positive and the negative end of x, y and z (LPS).
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))

#: Pixels of the letters, and between text and edge.
_SIZE, _MARGIN = 16, 6

#: What a system may have for letters that Pillow's own font lacks: Debian's fonts-noto-cjk,
#: fonts-nanum and fonts-unfonts-core.
_WIDER_FONTS = ("NotoSansCJK-Regular.ttc", "NanumGothic.ttf", "UnDotum.ttf")

#: Said of a line for which there is no font. The line itself is in Image Comments (0020,4000).
UNDRAWN = "See the image comments for the notice"


@dataclass(frozen=True)
class PictureSource:
    """What the pictures show."""

    #: Of the phase that is drawn, in slice order: what the pictures are derived from.
    images: Sequence[Image]
    grid: Grid
    #: float32 (slices, rows, columns): the phase that is drawn, and its role.
    voxels: NDArray[np.float32]
    role: str
    #: bool (slices, rows, columns) of the SEG alone, whose first is the slice `start`, from 0.
    marked: NDArray[np.bool_]
    start: int
    #: Largest first, each with what it is called.
    lesions: tuple[tuple[Lesion, str], ...]


def chosen_slices(drawn: PictureSource, count: int) -> list[int]:
    """At most `count` slices of the series, from 0.

    First the one in which each lesion is widest, the largest lesion first. Then those with the
    most marked voxels.
    """
    widest = [lesion.in_plane_slice for lesion, _ in drawn.lesions]
    areas = np.count_nonzero(drawn.marked, axis=(1, 2))
    by_area = [int(at) + drawn.start for at in np.argsort(-areas, kind="stable") if areas[at]]
    return list(dict.fromkeys([*widest, *by_area]))[:count]


def key_slices(drawn: PictureSource, seg: Dataset, spec: ResultSpec) -> tuple[bytes, ...]:
    """The pictures of a stored SEG as Part 10 files, as many as there are UIDs, or slices."""
    spec = made_by(spec, stored_model(seg), seg)
    low, high = np.percentile(drawn.voxels[_SAMPLE], _WINDOW)
    chosen = chosen_slices(drawn, len(spec.key_instance_uids))
    return tuple(
        _picture(drawn, at, number, (float(low), float(high)), seg, spec)
        for number, at in enumerate(chosen, 1)
    )


def _picture(  # noqa: PLR0917 - the first three say which
    drawn: PictureSource,
    at: int,
    number: int,
    window: tuple[float, float],
    seg: Dataset,
    spec: ResultSpec,
) -> bytes:
    image = drawn.images[at]
    rows, columns = drawn.voxels.shape[1:]
    times = min(-(-_SHORTER_SIDE // min(rows, columns)), _LONGER_SIDE // max(rows, columns))
    times = max(1, times)
    pixels = _outlined(_grey(drawn.voxels[at], window), drawn.marked[at - drawn.start], times)
    names = ", ".join(name for lesion, name in drawn.lesions if _is_in(lesion, at))
    lines = [f"{drawn.role}, slice {at + 1} of {len(drawn.images)}: {names}", spec.notice]
    # Of the others a run may have kept no more than their place.
    of_patient = drawn.images[0].head
    complete(of_patient)
    made = SCImage.from_ref_dataset(
        ref_dataset=of_patient,
        pixel_array=with_caption(pixels, lines),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_patient_orientation(drawn.grid),
        series_instance_uid=spec.key_series_uid,
        series_number=series_number(spec, "key slices"),
        sop_instance_uid=spec.key_instance_uids[number - 1],
        instance_number=number,
        pixel_spacing=tuple(value / times for value in drawn.grid.spacing[1:]),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        series_description=description(spec),
        **equipment(spec),
    )
    # Type 2C, and nobody knows which side: empty.
    made.Laterality = ""
    made.ConversionType = "WSD"
    # It states whether patient and date are burnt in (PS3.3 section C.7.6.1.1.5).
    made.BurnedInAnnotation = "NO"
    made.ImageComments = " | ".join(lines)
    made.DerivationDescription = "Slice with the outline of the segmentation burnt in"
    made.SourceImageSequence = [_source(image.source, image.frame), _source(seg, None)]
    stamp_alike(made, seg)
    # Now, which is not when the content is from.
    del made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture
    file_alike(made, spec.filing)
    buffer = BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def _is_in(lesion: Lesion, at: int) -> bool:
    return lesion.slices[0] <= at <= lesion.slices[1]


def _grey(voxels: NDArray[np.float32], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    width = max(high - low, float(np.finfo(np.float32).tiny))
    share = np.clip((voxels - np.float32(low)) / np.float32(width), 0.0, 1.0)
    grey: NDArray[np.uint8] = np.rint(share * 255.0).astype(np.uint8)
    return grey


def _outlined(grey: NDArray[np.uint8], marked: NDArray[np.bool_], times: int) -> NDArray[np.uint8]:
    """(rows, columns, 3), each pixel as `times` x `times`, with a line around what is marked.

    The line runs outside, so that no marked pixel is hidden.
    """
    large = np.kron(marked, np.ones((times, times), np.bool_))
    rgb = np.repeat(np.kron(grey, np.ones((times, times), np.uint8))[..., np.newaxis], 3, axis=2)
    around = binary_dilation(large, generate_binary_structure(2, 2)) & ~large
    rgb[around] = _OUTLINE
    return rgb


def _patient_orientation(grid: Grid) -> tuple[str, str]:
    """Where rows and columns lead, by the axis of the patient that they run along most."""
    letters = []
    for cosines in (grid.orientation[:3], grid.orientation[3:]):
        axis = int(np.abs(cosines).argmax())
        letters.append(_LETTERS[axis][0 if cosines[axis] > 0 else 1])
    return letters[0], letters[1]


def _source(made_of: Dataset, frame: int | None) -> Dataset:
    """A reference to an object of which the picture is made (PS3.3 table C.7-9)."""
    item = Dataset()
    item.ReferencedSOPClassUID = made_of.SOPClassUID
    item.ReferencedSOPInstanceUID = made_of.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame
    code = dicom_codes.DCM.SourceImageForImageProcessingOperation
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = code.value, code.scheme_designator
    purpose.CodeMeaning = code.meaning
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def with_caption(pixels: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """The picture (rows, columns, 3) with the lines in white on black under it.

    Under it, because no part of the image may be hidden. Long lines are broken.
    """
    width = pixels.shape[1]
    drawn = [
        (part, font)
        for text, font in map(_drawable, filter(None, lines))
        for part in _broken(text, font, width - 2 * _MARGIN)
    ]
    step = _SIZE + _MARGIN
    strip = Picture.new("RGB", (width, step * len(drawn) + _MARGIN))
    draw = ImageDraw.Draw(strip)
    for place, (text, font) in enumerate(drawn):
        draw.text((_MARGIN, _MARGIN + place * step), text, fill=(255, 255, 255), font=font)
    return np.concatenate([pixels, np.asarray(strip)])


def _drawable(text: str) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """The text with a font that has its letters, or what is said in its place."""
    own = ImageFont.load_default(_SIZE)
    try:
        # Pillow's own font has the letters of western Europe.
        text.encode("latin-1")
    except UnicodeEncodeError:
        for name in _WIDER_FONTS:
            try:
                return text, ImageFont.truetype(name, _SIZE)
            except OSError:
                continue
        return UNDRAWN, own
    return text, own


def _broken(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in parts no wider than `width` pixels, broken between words, or letters."""
    parts = [""]
    for word in text.split():
        longer = f"{parts[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            parts[-1] = longer
            continue
        if parts[-1]:
            parts.append("")
        for letter in word:
            if parts[-1] and font.getlength(parts[-1] + letter) > width:
                parts.append("")
            parts[-1] += letter
    return parts
