"""Phases that are stored on different scales: brought to one, or said not to be comparable."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, Measured, VolumeHeader, Volumes
from messages.phases.scale import Scale, Stored, scale_of
from tests.dicom_factory import Series, index, part10, place, spec
from tests.enhanced_factory import enhanced
from web.results.report_details import WashOut, read_report

ROLES = ("pre", "post1", "post2", "last")
TIMES = ("101500", "101700", "101900", "102100")
SHAPE = (4, 12, 14)
LESION = (slice(1, 3), slice(3, 9), slice(4, 10))

#: True signal of the lesion in each phase, and of what is around it.
SIGNAL, TISSUE = (100.0, 300.0, 260.0, 200.0), 40.0

#: RescaleSlope, RescaleIntercept and Scale Slope of each phase.
DIFFERENT = ((1.5, 0.0, 0.5), (2.5, 10.0, 1.0), (0.8, -4.0, 2.0), (1.2, 0.0, 0.25))
ONE = ((1.5, 0.0, 0.5),) * 4


def stored(signal: float, scales: tuple[float, float, float]) -> int:
    """Philips: the floating point value is (SV x RS + RI) / (RS x SS)."""
    slope, intercept, scale = scales
    return round((signal * slope * scale - intercept) / slope)


def four_phases(
    scales: tuple[tuple[float, float, float], ...], manufacturer: str = "Philips"
) -> dict[str, Series]:
    first = Series(*SHAPE)
    made = {}
    for role, time, signal, scale in zip(ROLES, TIMES, SIGNAL, scales, strict=True):
        pixels = np.full(SHAPE, stored(TISSUE, scale), np.uint16)
        pixels[LESION] = stored(signal, scale)
        # Brighter than the lesion, which is not cut off.
        pixels[:, 0, :] = stored(900.0, scale)
        made[role] = Series(
            *SHAPE, study_uid=first.study_uid, frame_uid=first.frame_uid, time=time, pixels=pixels
        )
        for ds in made[role].datasets:
            ds.Manufacturer = manufacturer
            ds.RescaleSlope, ds.RescaleIntercept = str(scale[0]), str(scale[1])
    return made


def state_scale(ds: Dataset, scale: float, block: int = 0x10) -> None:
    """As Philips writes its Scale Slope."""
    ds.add_new((0x2005, block), "LO", "Philips MR Imaging DD 001")
    ds.add_new((0x2005, block << 8 | 0x0E), "FL", scale)


def all_stated(
    scales: tuple[tuple[float, float, float], ...], block: int = 0x10
) -> dict[str, Series]:
    phases = four_phases(scales)
    for series, scale in zip(phases.values(), scales, strict=True):
        for ds in series.datasets:
            state_scale(ds, scale[2], block)
    return phases


def read(source: DownloadIndex) -> tuple[VolumeHeader, np.ndarray]:
    with MemoryFile() as target:
        header = reader.read_phases(source, target.path)
        return header, target.open_array(header.shape, np.float32).copy()


def as_enhanced(memory: MemoryFile, ds: Dataset) -> DownloadIndex:
    """The four phases of one Enhanced object."""
    files = [part10(ds)]
    return DownloadIndex(
        ds.StudyInstanceUID,
        tuple(
            place(
                memory,
                files,
                role,
                ds.SeriesInstanceUID,
                selector=("TemporalPositionIndex", str(number)),
            )
            for number, role in enumerate(ROLES, 1)
        ),
    )


def read_files(
    phases: dict[str, Series], files: dict[str, list[bytes]]
) -> tuple[VolumeHeader, np.ndarray]:
    with MemoryFile() as memory:
        placed = tuple(
            place(memory, files[role], role, series.series_uid) for role, series in phases.items()
        )
        return read(DownloadIndex(phases["pre"].study_uid, placed))


def lab_work(phases: dict[str, Series], *, redelivered: bool = False) -> tuple[Dataset, Measured]:
    """The stored SEG of the lesion and what is told of it, as a run does it."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[LESION] = 1
    with MemoryFile() as memory, MemoryFile() as volumes, MemoryFile() as marked:
        source = index(memory, **phases)
        header = reader.read_phases(source, volumes.path)
        seen = source.as_read(header)
        marked.write(mask.tobytes())
        about = spec()
        primary = reader.package(seen, marked.path, SHAPE, about).dicom_bytes
        measured = (
            reader.measure_stored(primary, source, about)
            if redelivered
            else reader.measure_stored(primary, seen, about, Volumes(volumes.path, header))
        )
        return dcmread(BytesIO(primary)), measured


def parameters(seg: Dataset) -> str:
    item = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    return str(item.AlgorithmParameters)


@pytest.mark.parametrize("block", [0x10, 0x15])
@pytest.mark.parametrize("encoding", ["explicit", "implicit", "unknown VR"])
def test_phases_that_state_their_scale_are_brought_to_that_of_the_first(
    block: int, encoding: str
) -> None:
    phases = all_stated(DIFFERENT, block)
    for series in phases.values():
        for ds in series.datasets:
            if encoding == "implicit":
                ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            if encoding == "unknown VR":
                tag = (0x2005, block << 8 | 0x0E)
                value = struct.pack("<f", ds[tag].value)
                del ds[tag]
                ds.add_new(tag, "UN", value)
    files = {role: series.files() for role, series in phases.items()}
    header, volumes = read_files(phases, files)
    assert header.scale is Scale.FIRST_PHASE
    # The first is what it was: the model knows its unit.
    slope, _intercept, scale = DIFFERENT[0]
    expected = np.array(SIGNAL) * slope * scale
    np.testing.assert_allclose(volumes[:, 1, 4, 5], expected, rtol=0.02)
    np.testing.assert_array_equal(volumes[0], phases["pre"].pixels * np.float32(slope))


def test_phases_of_one_scale_are_left_as_they_are_bit_for_bit() -> None:
    phases = all_stated(ONE)
    with MemoryFile() as memory:
        header, volumes = read(index(memory, **phases))
    assert header.scale is Scale.ONE
    for channel, series in enumerate(phases.values()):
        np.testing.assert_array_equal(volumes[channel], series.pixels * np.float32(1.5))


def test_curves_of_phases_that_were_brought_to_one_scale_are_those_of_the_true_signal() -> None:
    seg, measured = lab_work(all_stated(DIFFERENT))
    told = read_report(dcmread(BytesIO(measured.report or b"")))
    assert told.lesions
    curve = told.lesions[0].kinetics
    assert curve is not None
    assert curve.wash_in_percent == pytest.approx(200.0, abs=2)
    assert curve.wash_out is WashOut.WASHOUT
    assert (told.curves_withheld, measured.curves_withheld) == ("", "")
    assert told.origin.signal_scale == "first_phase"
    assert "signal_scale=first_phase" in parameters(seg)


@pytest.mark.parametrize("redelivered", [False, True])
def test_curves_are_withheld_where_a_phase_does_not_state_its_scale(*, redelivered: bool) -> None:
    phases = all_stated(DIFFERENT)
    for ds in phases["post2"].datasets:
        del ds[0x2005, 0x100E]
    seg, measured = lab_work(phases, redelivered=redelivered)
    told = read_report(dcmread(BytesIO(measured.report or b"")))
    assert told.lesions
    assert told.lesions[0].kinetics is None
    assert told.lesions[0].volume_ml
    assert told.curves_withheld == measured.curves_withheld == "different_scales"
    assert told.origin.signal_scale == "different"
    assert measured.lesions[0].wash_in_percent is None
    assert "signal_scale=different" in parameters(seg)


def test_a_signal_that_is_cut_off_in_one_phase_is_seen_on_the_scale_of_that_phase() -> None:
    phases = all_stated(DIFFERENT)
    for ds in phases["post1"].datasets:
        # Nothing of this phase is brighter than its lesion, and images of others are.
        pixels = np.frombuffer(ds.PixelData, np.uint16)
        ds.PixelData = np.minimum(pixels, stored(300.0, DIFFERENT[1])).tobytes()
    _seg, measured = lab_work(phases)
    told = read_report(dcmread(BytesIO(measured.report or b"")))
    assert told.lesions
    curve = told.lesions[0].kinetics
    assert curve is not None
    assert curve.wash_in_percent is None


def test_a_result_of_one_scale_says_nothing_of_scales() -> None:
    seg, measured = lab_work(four_phases(((1.0, 0.0, 1.0),) * 4, "Somebody"))
    told = read_report(dcmread(BytesIO(measured.report or b"")))
    assert told.lesions
    assert told.lesions[0].kinetics is not None
    assert (told.curves_withheld, told.origin.signal_scale) == ("", "")
    assert "signal_scale" not in parameters(seg)


@pytest.mark.parametrize(
    ("manufacturer", "scale"),
    [
        ("Philips Medical Systems", Scale.DIFFERENT),
        ("Philips Healthcare", Scale.DIFFERENT),
        ("", Scale.DIFFERENT),
        # The rescale of others is what makes their values comparable.
        ("SIEMENS", Scale.ONE),
    ],
)
def test_a_rescale_for_each_phase_without_a_scale_slope(manufacturer: str, scale: Scale) -> None:
    with MemoryFile() as memory:
        header, _ = read(index(memory, **four_phases(DIFFERENT, manufacturer)))
    assert header.scale is scale


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30])
def test_a_scale_that_is_none_is_not_used(value: float) -> None:
    phases = all_stated(DIFFERENT)
    for ds in phases["last"].datasets:
        state_scale(ds, value)
    with MemoryFile() as memory:
        header, volumes = read(index(memory, **phases))
    assert header.scale is Scale.DIFFERENT
    slope, intercept, _scale = DIFFERENT[3]
    np.testing.assert_allclose(volumes[3], phases["last"].pixels * slope + intercept, rtol=1e-6)


def test_the_same_number_of_another_creator_is_no_scale() -> None:
    phases = all_stated(DIFFERENT)
    for series in phases.values():
        for ds in series.datasets:
            ds[0x2005, 0x0010].value = "Somebody else"
    with MemoryFile() as memory:
        header, _ = read(index(memory, **phases))
    assert header.scale is Scale.DIFFERENT


@pytest.mark.parametrize("broken", [False, True])
def test_frames_of_enhanced_mr_state_their_scale_in_a_private_sequence(*, broken: bool) -> None:
    phases = list(four_phases(DIFFERENT).values())
    ds = enhanced(phases)
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        state_scale(item, DIFFERENT[number // SHAPE[0]][2])
        group.add_new((0x2005, 0x0014), "LO", "Philips MR Imaging DD 005")
        if broken:
            group.add_new((0x2005, 0x140F), "UN", b"no sequence at all")
        else:
            group.add_new((0x2005, 0x140F), "SQ", [item])
    with MemoryFile() as memory:
        source = as_enhanced(memory, ds)
        header, volumes = read(source)
    if broken:
        assert header.scale is Scale.DIFFERENT
        return
    assert header.scale is Scale.FIRST_PHASE
    slope, _intercept, scale = DIFFERENT[0]
    expected = np.array(SIGNAL) * slope * scale
    np.testing.assert_allclose(volumes[:, 1, 4, 5], expected, rtol=0.02)


def test_one_phase_has_one_scale() -> None:
    philips = Stored(2.0, 0.0, None, "Philips")
    assert scale_of([[philips, Stored(3.0, 0.0, None, "Philips")]]) is Scale.ONE
    assert scale_of([[philips], [Stored(2.0, 1.0, None, "Philips")]]) is Scale.DIFFERENT
    assert scale_of([]) is Scale.ONE
    assert scale_of([[], []]) is Scale.ONE


def test_a_rescale_that_is_not_stated_is_one_and_nothing() -> None:
    silent = Stored(manufacturer="Philips")
    assert scale_of([[silent], [Stored(2.0, 0.0, None, "Philips")]]) is Scale.DIFFERENT
    assert scale_of([[silent], [Stored(1.0, 5.0, None, "Philips")]]) is Scale.DIFFERENT
    assert scale_of([[silent], [Stored(1.0, 0.0, None, "Philips")]]) is Scale.ONE
    assert scale_of([[silent], [silent]]) is Scale.ONE
    # Of one whose Scale Slope is known, all is known.
    known = Stored(scale_slope=0.5, manufacturer="Philips")
    assert known.product == 0.5
    assert scale_of([[known], [Stored(1.7, 0.0, 0.5, "Philips")]]) is Scale.FIRST_PHASE


def test_a_scale_slope_that_is_not_stated_is_no_other_one() -> None:
    known, unknown = Stored(2.0, 0.0, 0.5, "Philips"), Stored(2.0, 0.0, None, "Philips")
    assert scale_of([[known], [unknown]]) is Scale.ONE
    assert scale_of([[known], [unknown], [Stored(2.0, 0.0, 0.7, "Philips")]]) is Scale.DIFFERENT


def test_slopes_are_compared_by_their_share_however_small_they_are() -> None:
    small, other = (Stored(slope, 0.0, None, "Philips") for slope in (2e-6, 8e-6))
    assert scale_of([[small], [other]]) is Scale.DIFFERENT
    rounded = Stored(2.000001e-6, 1e-7, None, "Philips")
    assert scale_of([[small], [rounded]]) is Scale.ONE


def test_curves_are_withheld_where_only_some_phases_state_a_rescale() -> None:
    phases = four_phases(((1.0, 0.0, 1.0),) * 4)
    for role, series in phases.items():
        for ds in series.datasets:
            del ds.RescaleSlope, ds.RescaleIntercept
            if role != "pre":
                ds.RescaleSlope, ds.RescaleIntercept = "1.7", "0"
    _seg, measured = lab_work(phases)
    assert measured.curves_withheld == "different_scales"
    assert measured.lesions[0].wash_in_percent is None


def test_frames_without_a_rescale_are_on_another_scale_than_those_with_one() -> None:
    phases = list(four_phases(((2.0, 0.0, 1.0),) * 4).values())
    ds = enhanced(phases)
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        if number >= SHAPE[0]:
            del group.PixelValueTransformationSequence
    with MemoryFile() as memory:
        source = as_enhanced(memory, ds)
        header, _ = read(source)
    assert header.scale is Scale.DIFFERENT
