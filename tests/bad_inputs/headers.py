"""Elements that are missing, that hold what is no number, or that lie."""

from __future__ import annotations

from pydicom import Dataset, Sequence

from messages.failures import FailureCode
from tests.bad_inputs.study import BadInput, changed, each, raw, real, rewritten, setting, without

UNREADABLE, GEOMETRY = FailureCode.UNREADABLE_DICOM, FailureCode.GEOMETRY_MISMATCH
UNSUPPORTED, TOO_LARGE = FailureCode.UNSUPPORTED_IMAGE, FailureCode.TOO_LARGE
CHANGED, MISSED = FailureCode.SERIES_CHANGED, FailureCode.MISSING_ATTRIBUTE

#: What a slice must have, and the code without it.
_NEEDED = {
    "SOPClassUID": MISSED,
    "SOPInstanceUID": MISSED,
    "StudyInstanceUID": CHANGED,
    "SeriesInstanceUID": CHANGED,
    "FrameOfReferenceUID": MISSED,
    "ImageOrientationPatient": MISSED,
    "ImagePositionPatient": MISSED,
    "PixelSpacing": MISSED,
    "Rows": MISSED,
    "Columns": MISSED,
    "SamplesPerPixel": MISSED,
    "BitsAllocated": MISSED,
    "BitsStored": MISSED,
    "HighBit": MISSED,
    "PhotometricInterpretation": MISSED,
    "PixelRepresentation": MISSED,
    "PixelData": MISSED,
}

MISSING = tuple(
    BadInput(f"no {keyword}", code, each(without(keyword))) for keyword, code in _NEEDED.items()
)

EMPTY = tuple(
    BadInput(f"empty {keyword}", MISSED, each(setting(**{keyword: None})))
    for keyword in (
        "FrameOfReferenceUID",
        "ImagePositionPatient",
        "PixelSpacing",
        "Rows",
        "PixelData",
    )
)

NO_NUMBERS = tuple(
    BadInput(f"{keyword} {label}", code, each(raw(keyword, text)))
    for keyword, label, text, code in (
        ("PixelSpacing", "infinite", rb"1e999\1", UNREADABLE),
        ("PixelSpacing", "NaN", rb"NaN\NaN", UNREADABLE),
        ("PixelSpacing", "text", rb"12,5 cm\1", UNREADABLE),
        ("PixelSpacing", "one value", b"1", UNREADABLE),
        ("PixelSpacing", "zero", rb"0\0", UNREADABLE),
        ("PixelSpacing", "negative", rb"-1\1", UNREADABLE),
        ("PixelSpacing", "beyond every double when squared", rb"1e300\1e300", UNSUPPORTED),
        ("ImageOrientationPatient", "NaN", rb"NaN\0\0\0\1\0", UNREADABLE),
        ("ImageOrientationPatient", "of zero length", rb"0\0\0\0\0\0", GEOMETRY),
        ("ImageOrientationPatient", "not at right angles", rb"1\0\0\1\0\0", GEOMETRY),
        ("ImageOrientationPatient", "five values", rb"1\0\0\0\1", UNREADABLE),
        ("ImagePositionPatient", "infinite", rb"0\0\inf", UNREADABLE),
        ("ImagePositionPatient", "a million digits", rb"0\0\1" + b"0" * 60_000, UNREADABLE),
        ("RescaleSlope", "NaN", b"NaN", UNREADABLE),
        ("RescaleSlope", "infinite", b"1e400", UNREADABLE),
        ("RescaleSlope", "zero", b"0", UNREADABLE),
        ("RescaleSlope", "beyond single precision", b"1e37", UNREADABLE),
        ("RescaleSlope", "beyond double precision squared", b"1e300", UNREADABLE),
        ("RescaleSlope", "below single precision", b"1e-60", UNREADABLE),
        ("RescaleIntercept", "beside which the image is nothing", b"1e30", UNREADABLE),
        ("RescaleIntercept", "text", b"Planted", UNREADABLE),
        ("NumberOfFrames", "text", b"Planted", UNREADABLE),
        ("NumberOfFrames", "negative", b"-3", UNREADABLE),
    )
)


#: Not allowed (PS3.5 table 6.2-1), and what they mean is clear.
ARABIC = {
    "PixelSpacing in Arabic digits": rewritten(
        lambda data: data.replace(b"0.8\\0.6 ", "١٢\\٣ ".encode())
    )
}


def _one(place: int, **values: object):
    def change(datasets: list[Dataset]) -> None:
        setting(**values)(datasets[place])

    return change


def _nested(ds: Dataset) -> None:
    ds.Rows = 8
    ds.add_new(0x00280010, "SQ", Sequence([Dataset()]))


LIES = (
    BadInput(
        "65535 rows and columns",
        UNREADABLE,
        each(setting(Rows=65535, Columns=65535)),
    ),
    BadInput("one row more than there is", UNREADABLE, each(setting(Rows=9))),
    BadInput("fewer columns than there are", UNREADABLE, each(setting(Columns=9))),
    BadInput("no rows", UNREADABLE, each(setting(Rows=0))),
    BadInput("a million frames", UNREADABLE, each(setting(NumberOfFrames=10**6))),
    BadInput("three samples", UNSUPPORTED, each(setting(SamplesPerPixel=3))),
    BadInput("64 bits", UNREADABLE, each(setting(BitsAllocated=64))),
    BadInput("3 bits", UNREADABLE, each(setting(BitsAllocated=3))),
    BadInput("more bits stored than allocated", UNSUPPORTED, each(setting(BitsStored=40))),
    BadInput("rows that are a sequence", UNREADABLE, each(_nested)),
    BadInput(
        "a palette",
        UNSUPPORTED,
        each(setting(PhotometricInterpretation="PALETTE COLOR")),
    ),
    BadInput("one slice of another size", UNREADABLE, changed(_one(2, Rows=4))),
    BadInput(
        "one slice of another frame of reference",
        GEOMETRY,
        changed(_one(2, FrameOfReferenceUID="1.2.3")),
    ),
    BadInput(
        "one slice of another orientation",
        GEOMETRY,
        changed(_one(2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
    ),
    BadInput(
        "two slices at one place",
        GEOMETRY,
        changed(lambda all_: setting(ImagePositionPatient=all_[1].ImagePositionPatient)(all_[2])),
    ),
    BadInput("a slice left out", GEOMETRY, changed(lambda all_: all_.pop(1))),
)


def _black_last_row(**sizes: int):
    """A square image that ends black, and a header that lies by one row or column."""

    def change(ds: Dataset) -> None:
        ds.PixelData = ds.PixelData[: -2 * ds.Columns] + b"\0" * 2 * ds.Columns
        setting(**sizes)(ds)

    return each(change, rows=16, columns=16)


BLACK = (
    BadInput("a column too few, the last row black", UNREADABLE, _black_last_row(Columns=15)),
    BadInput("a row too few, the last one black", UNREADABLE, _black_last_row(Rows=15)),
    BadInput(
        "as many zeros behind the pixels as a row has",
        UNREADABLE,
        real("MR_small_padded.dcm"),
    ),
)

ROWS = (*BLACK, *MISSING, *EMPTY, *NO_NUMBERS, *LIES)
