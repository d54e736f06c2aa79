"""Pixels in every encoding: pydicom's test files, and what its encoders make of our own.

A decoded file is compared with its uncompressed twin where there is one, else with what SimpleITK
(GDCM) makes of it. No file comes over a network: `pydicom-data` is a package.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from consumer.children import reader
from consumer.errors import LabError, MissingAttribute, UnreadableDicom, UnsupportedImage
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex
from tests.dicom_factory import Series, part10, place
from tests.enhanced_factory import enhanced

#: Of so fine pixels that the largest test file is no wider than a body.
SEEN = Series(slices=1, spacing=(2.5, 0.2, 0.2))


def test_file(name: str) -> str:
    path = get_testdata_file(name, download=False)
    assert path is not None, f"pydicom-data lacks {name}"
    return path


test_file.__test__ = False


def read(*files: bytes, ds: Dataset | None = None) -> np.ndarray:
    """The one phase that the files are: (slices, rows, columns)."""
    first = ds or SEEN.datasets[0]
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(memory, list(files), "pre", first.SeriesInstanceUID)
        header = reader.read_phases(DownloadIndex(first.StudyInstanceUID, (phase,)), target.path)
        return target.open_array(header.shape, np.float32)[0].copy()


def as_slice(name: str) -> Dataset:
    """The image of a test file, pixels and syntax untouched, as a slice of an MR series."""
    ds = dcmread(test_file(name))
    for element in SEEN.datasets[0]:
        if element.keyword not in {"PixelData", *OF_THE_PIXELS}:
            ds[element.tag] = element
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    # Stored values are compared here.
    for keyword in ("RescaleSlope", "RescaleIntercept", "PixelPaddingValue"):
        ds.pop(keyword, None)
    return ds


#: Of the image and not of the place: kept.
OF_THE_PIXELS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def by_itk(name: str) -> np.ndarray:
    """Stored values as GDCM decodes them, for a file without rescale and of MONOCHROME2."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(test_file(name))).squeeze()


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
def test_a_real_slice_reads_as_its_uncompressed_twin_whatever_its_encoding(name):
    data = Path(test_file(name)).read_bytes()
    twin = dcmread(test_file("MR_small.dcm")).pixel_array
    np.testing.assert_array_equal(read(data, ds=dcmread(test_file(name)))[0], twin)


@pytest.mark.parametrize("name", ["MR2", "RG1", "RG3", "693"])
def test_a_test_file_without_loss_reads_as_its_uncompressed_twin(name):
    compressed, plain = (as_slice(f"{name}_{kind}.dcm") for kind in ("J2KR", "UNCR"))
    np.testing.assert_array_equal(read(part10(compressed)), read(part10(plain)))
    np.testing.assert_array_equal(read(part10(plain))[0], plain.pixel_array)


@pytest.mark.parametrize(
    "name",
    [
        "JPEG-LL.dcm",
        "JPGLosslessP14SV1_1s_1f_8b.dcm",
        "image_dfl.dcm",
        "mlut_18.dcm",
        "MR-SIEMENS-DICOM-WithOverlays.dcm",
        "examples_overlay.dcm",
    ],
)
def test_a_test_file_of_another_kind_reads_as_another_library_reads_it(name):
    np.testing.assert_array_equal(read(part10(as_slice(name)))[0], by_itk(name))


def test_lossless_jpeg_of_process_14_is_read_whatever_its_selection_value():
    ds = as_slice("JPEG-LL.dcm")
    assert ds.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    ds.file_meta.TransferSyntaxUID = JPEGLossless
    np.testing.assert_array_equal(read(part10(ds))[0], by_itk("JPEG-LL.dcm"))


@pytest.mark.parametrize(
    "name",
    [
        "emri_small.dcm",
        "emri_small_RLE.dcm",
        "emri_small_big_endian.dcm",
        "emri_small_jpeg_2k_lossless.dcm",
        "emri_small_jpeg_ls_lossless.dcm",
    ],
)
def test_real_frames_read_as_their_uncompressed_twin(name):
    # The files were stripped of their functional groups: ten places are given to their frames.
    ds, plain = dcmread(test_file(name)), dcmread(test_file("emri_small.dcm"))
    groups = enhanced([Series(10, 64, 64)])
    ds.SharedFunctionalGroupsSequence = groups.SharedFunctionalGroupsSequence
    ds.PerFrameFunctionalGroupsSequence = groups.PerFrameFunctionalGroupsSequence
    np.testing.assert_array_equal(read(part10(ds), ds=ds), plain.pixel_array)


def refused(kind: type[LabError], data: bytes, ds: Dataset | None = None) -> str:
    with pytest.raises(kind) as caught:
        read(data, ds=ds)
    return caught.value.detail


def test_real_frames_without_their_places_lack_an_attribute():
    ds = dcmread(test_file("emri_small.dcm"))
    said = refused(MissingAttribute, part10(ds), ds)
    assert said == "instance 1 of pre has no PerFrameFunctionalGroupsSequence"


@pytest.mark.parametrize(
    "name",
    [
        "MR2_J2KI.dcm",
        # Decompressed, and the loss is in it.
        "MR2_UNCI.dcm",
        "693_J2KI.dcm",
        "JPEG-lossy.dcm",
        "JPGExtended.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
    ],
)
def test_images_that_were_compressed_with_loss_are_refused(name):
    assert "with loss" in refused(UnsupportedImage, part10(as_slice(name)))


@pytest.mark.parametrize("said", ["00", "", None])
@pytest.mark.parametrize(
    ("name", "plain", "syntax"),
    [
        ("MR2_J2KR.dcm", "MR2_UNCR.dcm", "1.2.840.10008.1.2.4.91"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", "1.2.840.10008.1.2.4.81"),
    ],
)
def test_a_syntax_that_may_lose_is_read_where_its_codestream_did_not(name, plain, syntax, said):
    ds = as_slice(name)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.pop("LossyImageCompression", None)
    if said is not None:
        ds.LossyImageCompression = said
    np.testing.assert_array_equal(read(part10(ds)), read(part10(as_slice(plain))))
    ds.LossyImageCompression = "01"
    assert "with loss" in refused(UnsupportedImage, part10(ds))


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("MR2_J2KI.dcm", JPEG2000Lossless),
        ("JPEGLSNearLossless_16.dcm", JPEGLSLossless),
    ],
)
def test_a_codestream_that_lost_is_refused_whatever_the_header_says(name, syntax):
    ds = as_slice(name)
    ds.LossyImageCompression = "00"
    ds.file_meta.TransferSyntaxUID = syntax
    assert "with loss" in refused(UnsupportedImage, part10(ds))


def test_high_throughput_jpeg_2000_is_refused():
    ds = as_slice("MR2_J2KR.dcm")
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    assert "no decoder" in refused(UnsupportedImage, part10(ds))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_frame_of_jpeg_ls_that_was_cut_and_closed_is_no_image(share):
    ds = as_slice("MR_small_jpeg_ls_lossless.dcm")
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame[: int(len(frame) * share)] + b"\xff\xd9"])
    refused(UnreadableDicom, part10(ds))


@pytest.mark.parametrize(
    "name",
    ["examples_palette.dcm", "examples_rgb_color.dcm", "SC_rgb_rle.dcm", "US1_J2KR.dcm"],
)
def test_images_in_colour_are_refused(name):
    assert "not grey" in refused(UnsupportedImage, part10(as_slice(name)))


def test_pixels_of_other_than_8_or_16_bits_are_refused():
    for allocated, stored, high in (
        (32, 32, 31),
        (16, 17, 16),
        (16, 12, 10),
        (16, 0, 15),
        (1, 1, 0),
    ):
        ds = Series(slices=1).datasets[0]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, high
        ds.StudyInstanceUID, ds.SeriesInstanceUID = SEEN.study_uid, SEEN.series_uid
        size = 80 * allocated // 8
        ds.PixelData = bytes(size + size % 2)
        assert "bits" in refused(UnsupportedImage, part10(ds))


def test_a_real_file_that_is_cut_short_is_unreadable():
    data = Path(test_file("MR_truncated.dcm")).read_bytes()
    refused(UnreadableDicom, data, dcmread(test_file("MR_truncated.dcm")))


def slice_of(values: np.ndarray, stored: int) -> Dataset:
    """A slice with these values, unsigned or signed, of 8 or 16 bits allocated."""
    ds = Series(slices=1, rows=values.shape[0], columns=values.shape[1]).datasets[0]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = SEEN.study_uid, SEEN.series_uid
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = values.itemsize * 8, stored, stored - 1
    ds.PixelRepresentation = int(values.dtype.kind == "i")
    data = values.tobytes()
    ds.PixelData = data + bytes(len(data) % 2)
    ds["PixelData"].VR = "OB" if values.itemsize == 1 else "OW"
    return ds


def ramp(stored: int, *, signed: bool, shape: tuple[int, int] = (65, 47)) -> np.ndarray:
    """Every brightness that the bits allow, or as many as there are pixels: an odd number."""
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1)) if signed else (0, 2**stored)
    values = np.linspace(low, high - 1, shape[0] * shape[1]).round().astype(int).reshape(shape)
    return values.astype(f"{'i' if signed else 'u'}{1 if stored <= 8 else 2}")


def encoded(ds: Dataset, syntax: str) -> bytes:
    if syntax in {RLELossless, JPEGLSLossless, JPEG2000Lossless}:
        ds.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        size = ds.BitsAllocated // 8
        # Words of 16 bits: with 8 bits allocated, two pixels turn their places.
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        assert size in {1, 2}
        ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = syntax
    return part10(ds)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.keyword,
)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_number_of_bits_comes_back_from_every_encoding(syntax, signed):
    for stored in (6, 8, 9, 10, 12, 13, 15, 16):
        values = ramp(stored, signed=signed)
        np.testing.assert_array_equal(read(encoded(slice_of(values, stored), syntax))[0], values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("signed", [False, True])
def test_values_at_the_upper_end_of_their_bits_are_shifted_down(order, signed):
    values = ramp(12, signed=signed)
    ds = slice_of(values << 4, 12)
    ds.HighBit = 15
    # The four bits below hold an old overlay.
    ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") | 5).astype(f"{order}u2").tobytes()
    if order == ">":
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    np.testing.assert_array_equal(read(part10(ds))[0], values)


def test_inverted_display_changes_no_value():
    values = ramp(12, signed=False)
    ds = slice_of(values, 12)
    ds.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(read(part10(ds))[0], values)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("value", "limit"), [(-2000, None), (-2000, -1990), (-1990, -2000)])
def test_what_fills_an_image_up_becomes_its_lowest_value(signed, value, limit):
    values = np.full((6, 5), 100, np.int16)
    values[1, 1] = 7
    values[3], values[4] = -2000, -1995
    ds = slice_of(values, 16)
    # Explicit VR: some writers state the value in the sign that the pixels do not have.
    for keyword, said in (("PixelPaddingValue", value), ("PixelPaddingRangeLimit", limit)):
        if said is not None:
            ds.add_new(keyword, "SS" if signed else "US", said if signed else said % 2**16)
    ds.RescaleSlope, ds.RescaleIntercept = "2", "0"
    expected = values * 2.0
    expected[3] = expected[4] = 14.0
    if limit is None:
        expected[3], expected[4] = -3990.0, -3990.0
    np.testing.assert_array_equal(read(part10(ds))[0], expected)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [("0", "5"), ("1e37", "0"), ("1e300", "0"), ("1e-60", "0"), ("1", "1e30"), ("-1e300", "1")],
)
def test_a_rescale_that_leaves_nothing_of_an_image_is_unreadable(slope, intercept):
    ds = slice_of(ramp(12, signed=False), 12)
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    assert "beyond single precision" in refused(UnreadableDicom, part10(ds))


@pytest.mark.parametrize(("slope", "intercept"), [("1e-6", "0"), ("-2.5", "1024"), ("300", "-1e5")])
def test_a_rescale_of_any_scanner_is_applied(slope, intercept):
    values = ramp(16, signed=False)
    ds = slice_of(values, 16)
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    expected = values * np.float64(slope) + np.float64(intercept)
    np.testing.assert_allclose(read(part10(ds))[0], expected, rtol=1e-5)
