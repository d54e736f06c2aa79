"""Which classic images hold several slices in one frame: by what real ones say, and their twins."""

from __future__ import annotations

import pytest

from messages.phases.tiled import (
    IMAGES_IN_FRAME,
    holds_several_slices,
    images_in_frame,
    may_hold_several,
)


def head(**changes: str) -> dict[str, str]:
    """A Siemens mosaic of 36 tiles of 64 x 64, as its first attributes tell it."""
    made = {
        "ImageType": "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC",
        "Rows": "384",
        "Columns": "384",
        "AcquisitionMatrix": "64\\0\\0\\64",
        "PixelSpacing": "3.203125\\3.203125",
        IMAGES_IN_FRAME: "36",
        **changes,
    }
    return {name: text for name, text in made.items() if text}


#: What an anonymiser makes of one, when it removes both that say it.
SILENT = {"ImageType": "ORIGINAL\\PRIMARY\\OTHER", IMAGES_IN_FRAME: ""}

SHEETS = {
    "a mosaic": head(),
    "one that says so in the seventh value": head(
        ImageType="ORIGINAL\\PRIMARY\\ASL\\NONE\\ND\\NORM\\MOSAIC"
    ),
    "one without private elements": head(**{IMAGES_IN_FRAME: ""}),
    "one of an anonymous type": head(ImageType="ORIGINAL\\PRIMARY\\OTHER"),
    "one without an acquisition matrix": head(AcquisitionMatrix="", **{IMAGES_IN_FRAME: ""}),
    "one of which only the matrix is left": head(**SILENT),
    "one of five slices, 648 mm wide": head(
        Rows="216", Columns="216", AcquisitionMatrix="72\\0\\0\\72", PixelSpacing="3\\3", **SILENT
    ),
    "one of fewer phase encodings than pixels": head(
        Rows="672", Columns="672", AcquisitionMatrix="96\\0\\0\\82", PixelSpacing="2.5\\2.5",
        **SILENT,
    ),
    "one read out along the columns": head(
        Rows="672", Columns="672", AcquisitionMatrix="0\\96\\92\\0", PixelSpacing="2.5\\2.5",
        **SILENT,
    ),
    "one of oblong tiles": head(
        Rows="1440", Columns="720", AcquisitionMatrix="90\\0\\0\\180", PixelSpacing="2.4\\2.4",
        **SILENT,
    ),
    "a VFRAME of 4 x 5": head(
        ImageType="ORIGINAL\\PRIMARY\\M\\VFRAME", Rows="256", Columns="320",
        PixelSpacing="3.5\\3.5", **{IMAGES_IN_FRAME: ""},
    ),
    "a VFRAME of which only the matrix is left": head(
        Rows="256", Columns="320", PixelSpacing="3.5\\3.5", **SILENT
    ),
    "one tiled only across the readout": head(
        Rows="64", Columns="128", AcquisitionMatrix="0\\64\\64\\0"
    ),
    "one tiled only across a readout along the rows": head(
        Rows="192", Columns="64", AcquisitionMatrix="64\\0\\0\\52"
    ),
    "a small one of an anonymous type, by its count": head(
        ImageType="ORIGINAL\\PRIMARY\\OTHER", Rows="128", Columns="128", PixelSpacing="2\\2",
        **{IMAGES_IN_FRAME: "4"},
    ),
}  # fmt: skip

SLICES = {
    "a slice as it was acquired": head(
        Rows="256", Columns="256", AcquisitionMatrix="0\\256\\256\\0", PixelSpacing="1\\1", **SILENT
    ),
    "a matrix that was doubled for a head": head(
        Rows="512", Columns="460", AcquisitionMatrix="0\\256\\0\\230", PixelSpacing="0.5\\0.5",
        **SILENT,
    ),
    "a matrix that was doubled for the largest field of view": head(
        Rows="512", Columns="512", AcquisitionMatrix="256\\0\\0\\256",
        PixelSpacing="1.171875\\1.171875", **SILENT,
    ),
    "a localizer whose matrix was multiplied by four": head(
        Rows="512", Columns="512", AcquisitionMatrix="128\\0\\0\\128", PixelSpacing="0.93\\0.93",
        **SILENT,
    ),
    "a whole body put together of stations": head(
        Rows="1900", Columns="500", AcquisitionMatrix="250\\0\\0\\250", PixelSpacing="1\\1",
        **SILENT,
    ),
    "fewer pixels than were acquired": head(
        Rows="64", Columns="64", AcquisitionMatrix="0\\256\\256\\0", **SILENT
    ),
    "a tile that was taken out of its sheet, with its old words": head(Rows="64", Columns="64"),
    "a tile that was taken out and interpolated": head(Rows="96", Columns="96"),
    "a tile of fewer phase encodings than pixels": head(
        Rows="64", Columns="64", AcquisitionMatrix="64\\0\\0\\40"
    ),
    "no acquisition matrix and no word": head(AcquisitionMatrix="", **SILENT),
    "a count of one": head(
        Rows="64", Columns="64", ImageType="ORIGINAL\\PRIMARY\\M", **{IMAGES_IN_FRAME: "1"}
    ),
    "nothing at all": {},
    "text where numbers belong": head(Rows="many", AcquisitionMatrix="a\\b", **SILENT),
}  # fmt: skip


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_a_sheet_of_slices_is_known(sheet: dict[str, str]) -> None:
    assert holds_several_slices(sheet)


@pytest.mark.parametrize("image", SLICES.values(), ids=SLICES)
def test_a_slice_is_no_sheet(image: dict[str, str]) -> None:
    assert not holds_several_slices(image)


def test_a_private_count_is_asked_for_only_where_the_matrix_allows_it() -> None:
    assert may_hold_several(head(**SILENT))
    assert not may_hold_several(head())
    assert not may_hold_several(SLICES["a slice as it was acquired"])


@pytest.mark.parametrize(
    ("elements", "count"),
    [
        ({"0019,0010": "SIEMENS MR HEADER", "0019,100a": "36"}, "36"),
        ({"0019,0011": "SIEMENS MR HEADER", "0019,110a": "36"}, "36"),
        ({"0065,0010": "Image Private Header", "0065,1050": "20", "0065,1051": []}, "20"),
        # Another creator's element is none.
        ({"0019,0010": "GEMS_ACQU_01", "0019,100a": "36"}, ""),
        ({"0019,100a": "36"}, ""),
        ({"0019,0010": "SIEMENS MR HEADER", "0019,100a": "1"}, ""),
        ({"0019,0010": "SIEMENS MR HEADER", "0019,100a": None}, ""),
        ({}, ""),
    ],
)
def test_the_private_count_is_found_by_its_creator(elements: dict[str, object], count: str) -> None:
    assert images_in_frame(elements) == count
