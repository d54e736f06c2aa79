"""Random grids: what is marked lies where the images lie, for readers that know nothing of us.

The images are read by SimpleITK (GDCM). The segmentation is placed by the positions, the
orientation and the spacing that its own frames state. Coordinates are DICOM's: LPS, mm.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from consumer.children import reader
from consumer.dicom.grid import PLACE_SHARE, PLACE_TOLERANCE_MM
from consumer.errors import GeometryMismatch
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, VolumeHeader
from tests.dicom_factory import Series, part10, place, spec
from tests.enhanced_factory import enhanced

#: mm by which two readers may differ: single precision nowhere, decimal text of 16 characters.
AGREE_MM = 1e-3

#: Stored value of tissue, and of what is to be marked.
DARK, BRIGHT = 100, 1000

GRIDS = settings(max_examples=200, derandomize=True, deadline=None, database=None)


@dataclass(frozen=True)
class Scan:
    """A volume as a scanner chose it, and a ball in it."""

    orientation: tuple[float, ...]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    origin: tuple[float, float, float]
    #: 1: slices follow the normal, -1: they go against it.
    direction: int
    #: Instances in the order in which they are stored.
    order: tuple[int, ...]
    multi_frame: bool
    #: Voxel in the middle of the ball, and its radius in mm.
    centre: tuple[int, int, int]
    radius: float


#: Turns of the axes: axial, coronal and sagittal as scanners name them, and anything between.
PLAIN = ((1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0))


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(PLAIN))
    turn = Rotation.random(rng=np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    matrix = turn.as_matrix()
    return (*matrix[:, 0], *matrix[:, 1])


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    def mm(low: float, high: float) -> float:
        return draw(st.integers(round(low * 1000), round(high * 1000))) / 1000

    shape = tuple(draw(st.integers(low, 7)) for low in (2, 3, 3))
    spacing = (mm(0.5, 8), mm(0.3, 2.5), mm(0.3, 2.5))
    return Scan(
        orientation=draw(orientations()),
        spacing=spacing,
        shape=shape,
        origin=(mm(-300, 300), mm(-300, 300), mm(-900, 900)),
        direction=draw(st.sampled_from((1, -1))),
        order=tuple(draw(st.permutations(range(shape[0])))),
        multi_frame=draw(st.booleans()),
        centre=tuple(draw(st.integers(0, count - 1)) for count in shape),
        # Never up to a voxel exactly: whether that is inside would be a matter of rounding.
        radius=mm(0.1, 6) + 0.0001234567,
    )


def images(scan: Scan) -> Series:
    """The scan as classic instances, in the order of acquisition, bright inside the ball."""
    along_row, along_column = np.array(scan.orientation[:3]), np.array(scan.orientation[3:])
    step = np.cross(along_row, along_column) * scan.spacing[0] * scan.direction
    k, r, c = np.indices(scan.shape)[..., None]
    down, across = along_column * scan.spacing[1], along_row * scan.spacing[2]
    points = np.array(scan.origin) + k * step + r * down + c * across
    inside = np.linalg.norm(points - points[scan.centre], axis=-1) < scan.radius
    series = Series(
        *scan.shape,
        orientation=scan.orientation,
        spacing=scan.spacing,
        pixels=np.where(inside, BRIGHT, DARK).astype(np.uint16),
    )
    for number, ds in enumerate(series.datasets):
        ds.ImagePositionPatient = decimal(np.array(scan.origin) + number * step)
        ds.ImageOrientationPatient = decimal(scan.orientation)
    return series


def decimal(values: np.ndarray | tuple[float, ...]) -> list[str]:
    """Numbers as a DS holds them: at most 16 characters."""
    return [f"{value:.9f}"[:16] for value in values]


def indices(affine: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Patient coordinates of the marked voxels of a volume, (n, 3)."""
    at = np.argwhere(marked)
    return (affine @ np.c_[at, np.ones(len(at))].T).T[:, :3]


def seen_by_itk(series: Series, order: tuple[int, ...]) -> np.ndarray:
    """Patient coordinates of the bright voxels, as SimpleITK reads the files."""
    with tempfile.TemporaryDirectory() as folder:
        for number, at in enumerate(order):
            Path(folder, f"{number}.dcm").write_bytes(part10(series.datasets[at]))
        files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(folder)
        image = SimpleITK.ReadImage(files)
    array = SimpleITK.GetArrayFromImage(image)
    bright = np.argwhere(array == BRIGHT)[:, ::-1].tolist()
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in bright])


def stated_by(seg: Dataset) -> np.ndarray:
    """Patient coordinates of the marked voxels, by PS3.3 equation C.7.6.2.1-1 and nothing else."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    points = []
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(frame)
        points.append(corner + np.outer(row, axes[3:] * down) + np.outer(column, axes[:3] * across))
    return np.concatenate(points)


def assert_same_places(one: np.ndarray, other: np.ndarray) -> None:
    """Each point of one set has exactly one partner in the other."""
    assert len(one) == len(other) > 0
    distances, partners = cKDTree(one).query(other)
    assert distances.max() < AGREE_MM
    assert len(set(partners.tolist())) == len(one)


class Analysis:
    """The lab's way of a series: to a volume, to a mask, to a stored object."""

    def __init__(self, memory: MemoryFile, instances: list[Dataset]) -> None:
        uid = instances[0].SeriesInstanceUID
        phase = place(memory, [part10(ds) for ds in instances], "pre", uid)
        self.source = DownloadIndex(instances[0].StudyInstanceUID, (phase,))
        self.spec = spec()

    def read(self) -> tuple[VolumeHeader, np.ndarray]:
        with MemoryFile() as target:
            header = reader.read_phases(self.source, target.path)
            return header, target.open_array(header.shape, np.float32)[0].copy()

    def package(self, mask: np.ndarray) -> bytes:
        with MemoryFile() as memory:
            memory.write(np.ascontiguousarray(mask, dtype=np.uint8).tobytes())
            return reader.package(self.source, memory.path, mask.shape, self.spec).dicom_bytes


@GRIDS
@given(scans())
def test_what_is_marked_lies_where_another_reader_sees_it(scan: Scan) -> None:
    series = images(scan)
    stored = [series.datasets[at] for at in scan.order]
    if scan.multi_frame:
        stored = [enhanced([series], order=[(0, at) for at in scan.order])]
    with MemoryFile() as memory:
        analysis = Analysis(memory, stored)
        header, volume = analysis.read()
        # A model sees a volume and its affine. What it marks here follows from coordinates.
        affine = np.array(header.affine_lps)
        every = indices(affine, np.ones(volume.shape, bool)).reshape(*volume.shape, 3)
        bright = volume == BRIGHT
        centre = indices(affine, bright)
        ball = middle_of(series, scan)
        mask = np.linalg.norm(every - ball, axis=-1) < scan.radius
        data = analysis.package(mask)
        measured = reader.measure_stored(data, analysis.source, analysis.spec)

    np.testing.assert_array_equal(mask, bright)
    truth = seen_by_itk(series, scan.order)
    assert_same_places(centre, truth)
    assert_same_places(stated_by(dcmread(BytesIO(data))), truth)
    assert measured.figures.volume_voxels == len(truth)
    voxel_ml = float(np.prod(scan.spacing)) / 1000
    assert measured.figures.volume_ml == pytest.approx(len(truth) * voxel_ml, rel=1e-5)


def middle_of(series: Series, scan: Scan) -> np.ndarray:
    """Patient coordinates of the ball's middle, from the text of its own slice alone."""
    ds = series.datasets[scan.centre[0]]
    axes = np.array(ds.ImageOrientationPatient, float)
    corner = np.array(ds.ImagePositionPatient, float)
    _, row, column = scan.centre
    return corner + axes[3:] * scan.spacing[1] * row + axes[:3] * scan.spacing[2] * column


def moved(scan: Scan, shifts: np.ndarray) -> Series:
    """The scan with its slices moved by (slices, 3) mm, positions rounded to 0.1 mm."""
    series = images(scan)
    for ds, shift in zip(series.datasets, shifts, strict=True):
        position = np.array(ds.ImagePositionPatient, float) + shift
        ds.ImagePositionPatient = [f"{value:.1f}" for value in position]
    return series


def tried(series: Series) -> tuple[np.ndarray, bytes] | None:
    """Mask and stored object of a study that is read; None of one that is refused."""
    with MemoryFile() as memory:
        analysis = Analysis(memory, series.datasets)
        try:
            header, _ = analysis.read()
        except GeometryMismatch:
            return None
        mask = np.zeros(header.shape[1:], np.uint8)
        mask[0, 0, 0] = mask[-1, -1, -1] = mask[header.shape[1] // 2, 1, 1] = 1
        data = analysis.package(mask)
        # Whatever the read lets pass, the stored object is measured.
        figures = reader.measure_stored(data, analysis.source, analysis.spec).figures
        assert figures.volume_voxels == int(mask.sum())
        assert figures.slices_with_tumor == int(mask.any(axis=(1, 2)).sum())
        return mask, data


@settings(GRIDS, max_examples=60)
@given(scans(), st.integers(875, 6000))
def test_positions_that_were_rounded_to_a_tenth_are_read(scan: Scan, distance: int) -> None:
    scan = Scan(**{**vars(scan), "spacing": (distance / 1000, *scan.spacing[1:])})
    result = tried(moved(scan, np.zeros((scan.shape[0], 3))))

    assert result is not None
    mask, data = result
    assert len(stated_by(dcmread(BytesIO(data)))) == int(mask.sum())


@settings(GRIDS, max_examples=60)
@given(
    scans(),
    st.integers(3, 40),
    st.sampled_from(("slow drift", "a step", "jitter", "lean")),
    st.integers(0, 600),
)
def test_a_study_that_is_read_is_never_lost_by_its_geometry_later(
    scan: Scan, slices: int, kind: str, size: int
) -> None:
    scan = Scan(**{**vars(scan), "shape": (slices, 3, 3), "centre": (0, 0, 0)})
    axes = np.array(scan.orientation).reshape(2, 3)
    share = np.linspace(-1, 1, slices)
    away = {
        "slow drift": share**2,
        "a step": np.sign(share),
        "jitter": np.random.default_rng(size).uniform(-1, 1, slices),
        "lean": share,
    }[kind]
    direction = axes[0] if kind == "lean" else np.cross(*axes)
    tried(moved(scan, np.outer(away * size / 1000, direction)))


@pytest.mark.parametrize(("grows_mm", "passes"), [(0.002, True), (0.004, False)])
def test_gaps_that_grow_slowly_are_refused_before_the_inference_or_not_at_all(grows_mm, passes):
    # 20 gaps, each longer by `grows_mm`: none differs much from the others, and in the middle the
    # slices are off by 100 / 2 times that, 0.10 and 0.20 mm.
    series = Series(slices=21, spacing=(1.0, 0.8, 0.6))
    for number, ds in enumerate(series.datasets):
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = decimal((x, y, z + grows_mm * number * (number - 1) / 2))
    assert (tried(series) is not None) is passes
    if not passes:
        with MemoryFile() as memory, pytest.raises(GeometryMismatch, match="off its place in"):
            Analysis(memory, series.datasets).read()


def test_two_slices_at_the_limit_still_have_one_nearest_place_each():
    distance = PLACE_TOLERANCE_MM / PLACE_SHARE
    series = Series(slices=9, spacing=(distance, 0.8, 0.6))
    for number, sign in ((3, 1), (4, -1), (5, 1)):
        x, y, z = map(float, series.datasets[number].ImagePositionPatient)
        shifted = z + sign * PLACE_TOLERANCE_MM * 0.999
        series.datasets[number].ImagePositionPatient = decimal((x, y, shifted))
    with MemoryFile() as memory:
        analysis = Analysis(memory, series.datasets)
        analysis.read()
        mask = np.zeros((9, 8, 10), np.uint8)
        mask[3:6, 2, 2] = 1
        data = analysis.package(mask)
        figures = reader.measure_stored(data, analysis.source, analysis.spec).figures
    assert (figures.volume_voxels, figures.slices_with_tumor) == (3, 3)
