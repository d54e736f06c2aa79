"""A real GE series (20 slices of a brain, positions as its scanner rounds), and converted.

`make setup-test` fetches it.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import SimpleITK
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, VolumeHeader
from consumer.result.lesions import split
from infra.brain.fetch import Brain
from tests.dicom_factory import part10, place, spec


@pytest.fixture(scope="module")
def brain() -> list[bytes]:
    found = Brain()
    assert found.has_series(), "the series is missing: run `make setup-test`"
    return [file.read_bytes() for file in found.files]


class Analysis:
    def __init__(self, memory: MemoryFile, files: list[bytes]) -> None:
        first = dcmread(BytesIO(files[0]), stop_before_pixels=True)
        phase = place(memory, files, "image", first.SeriesInstanceUID)
        self.source = DownloadIndex(first.StudyInstanceUID, (phase,))
        self.spec = spec()

    def read(self) -> tuple[VolumeHeader, np.ndarray]:
        with MemoryFile() as target:
            header = reader.read_phases(self.source, target.path)
            return header, target.open_array(header.shape, np.float32)[0].copy()

    def seg(self, mask: np.ndarray) -> Dataset:
        with MemoryFile() as memory:
            memory.write(mask.astype(np.uint8).tobytes())
            data = reader.package(self.source, memory.path, mask.shape, self.spec).dicom_bytes
        figures = reader.measure_stored(data, self.source, self.spec).figures
        assert figures.volume_voxels == int(mask.sum())
        assert (figures.slices, figures.slices_with_tumor) == (len(mask), len(mask))
        return dcmread(BytesIO(data))


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


def by_itk() -> list[SimpleITK.Image]:
    """Each slice alone, lowest first: ITK would place a stack by its first two positions."""
    slices = [SimpleITK.ReadImage(str(file)) for file in Brain().files]

    def height(image: SimpleITK.Image) -> float:
        return float(np.dot(image.GetOrigin(), np.array(image.GetDirection())[[2, 5, 8]]))

    return sorted(slices, key=height)


def bright(volume: np.ndarray) -> np.ndarray:
    """Its bright marks, as many as a result may have."""
    return split(volume > np.percentile(volume, 99), (1.0, 1.0, 1.0), 0.0).labels > 0


def converted(brain: list[bytes], syntax: str) -> Dataset:
    return LegacyConvertedEnhancedMRImage(
        [dcmread(BytesIO(data)) for data in brain],
        series_instance_uid=generate_uid(),
        series_number=7,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        transfer_syntax_uid=syntax,
    )


def test_a_real_series_is_read_and_marked_where_another_library_sees_it(memory, brain):
    slices = by_itk()
    analysis = Analysis(memory, brain)
    header, volume = analysis.read()
    mask = bright(volume)
    assert mask.any(axis=(1, 2)).all()
    seg = analysis.seg(mask)

    np.testing.assert_array_equal(
        volume, [SimpleITK.GetArrayFromImage(image)[0] for image in slices]
    )
    affine = np.array(header.affine_lps)
    # The affine is a regular grid, and the slices are off it by what the scanner rounded.
    for number, image in enumerate(slices):
        for at in ((0, 0), (255, 0), (17, 255)):
            placed = (affine @ (number, *at, 1))[:3]
            seen = image.TransformIndexToPhysicalPoint((at[1], at[0], 0))
            np.testing.assert_allclose(placed, seen, atol=0.13)
    # The segmentation keeps each slice's own place.
    origins = np.array([image.GetOrigin() for image in slices])
    found = np.zeros_like(mask)
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        [number] = np.flatnonzero(np.linalg.norm(origins - position, axis=1) < 1e-4)
        found[number] |= frame.astype(bool)
    np.testing.assert_array_equal(found, mask)
    assert len(seg.SegmentSequence) > 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_converted_real_series_is_the_same_volume_and_its_frames_are_named(memory, brain, syntax):
    _, volume = Analysis(memory, brain).read()
    ds = converted(brain[::-1], syntax)
    analysis = Analysis(memory, [part10(ds)])
    header, again = analysis.read()
    seg = analysis.seg(bright(volume))

    np.testing.assert_array_equal(again, volume)
    assert header.shape == (1, 20, 256, 256)
    for group in seg.PerFrameFunctionalGroupsSequence:
        [image] = group.DerivationImageSequence[0].SourceImageSequence
        source = ds.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        assert (
            source.PlanePositionSequence[0].ImagePositionPatient
            == group.PlanePositionSequence[0].ImagePositionPatient
        )
