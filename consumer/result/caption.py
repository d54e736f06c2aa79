"""Text below a picture, in letters that can be read on any viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Pixels of the letters, and between text and edge.
_SIZE, _MARGIN = 16, 6

#: What a system may have for letters that Pillow's own font lacks: Debian's fonts-noto-cjk,
#: fonts-nanum and fonts-unfonts-core.
_WIDER_FONTS = ("NotoSansCJK-Regular.ttc", "NanumGothic.ttf", "UnDotum.ttf")

#: Said of a line for which there is no font. The line itself is in Image Comments (0020,4000).
UNDRAWN = "See the image comments for the notice"


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
    strip = Image.new("RGB", (width, step * len(drawn) + _MARGIN))
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
