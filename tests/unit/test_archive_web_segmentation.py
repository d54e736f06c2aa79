"""Frames of a SEG land on the slices that they belong to."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SegmentationStorage, generate_uid

from web.orthanc.errors import SliceNotFound, UnreadableResult
from web.orthanc.stored_file import stored_file
from web.phases.images import Image
from web.phases.stack import Stack, corresponding
from web.results.segmentation import marked_in, place_referred

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROWS, COLUMNS = 4, 6


def stack(positions: list[float], series: str = "a") -> Stack:
    """Axial slices at these heights, in InstanceNumber order."""
    return Stack(
        "study",
        series,
        tuple(
            Image(f"{series}{i}", f"1.2.{i}", i + 1, (-10.0, -20.0, z), AXIAL)
            for i, z in enumerate(positions)
        ),
    )


def segmentation(
    frames: np.ndarray,
    heights: list[float],
    uids: list[str] | None = None,
    orientation: tuple[float, ...] = AXIAL,
    segments: tuple[int, ...] = (),
) -> bytes:
    """A BINARY SEG with these frames, at these heights, naming these images."""
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.file_meta.MediaStorageSOPClassUID = seg.SOPClassUID = SegmentationStorage
    seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID = generate_uid()
    seg.Modality, seg.SegmentationType = "SEG", "BINARY"
    seg.NumberOfFrames, seg.Rows, seg.Columns = frames.shape
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.BitsAllocated = seg.BitsStored = 1
    seg.HighBit = seg.PixelRepresentation = 0
    seg.PixelData = pack_bits(frames.astype(np.uint8))
    plane = Dataset()
    plane.ImageOrientationPatient = list(orientation)
    shared = Dataset()
    shared.PlaneOrientationSequence = [plane]
    if len(set(segments)) == 1:
        shared.SegmentIdentificationSequence = [numbered(segments[0])]
    seg.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for index, height in enumerate(heights):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-10.0, -20.0, height]
        group.PlanePositionSequence = [position]
        if uids is not None:
            source, derivation = Dataset(), Dataset()
            source.ReferencedSOPInstanceUID = uids[index]
            derivation.SourceImageSequence = [source]
            group.DerivationImageSequence = [derivation]
        if len(set(segments)) > 1:
            group.SegmentIdentificationSequence = [numbered(segments[index])]
        groups.append(group)
    seg.PerFrameFunctionalGroupsSequence = groups
    buffer = io.BytesIO()
    seg.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def numbered(segment: int) -> Dataset:
    """An item that says which segment; highdicom shares it between the frames of an only one."""
    item = Dataset()
    item.ReferencedSegmentNumber = segment
    return item


def united(seg_file: bytes, images: Stack) -> np.ndarray:
    """What all segments of a SEG mark in these slices."""
    masks = marked_in(stored_file(seg_file), images).masks
    return np.stack([masks.of(index) for index in range(len(images.slices))])


def marks(*pixels: tuple[int, int]) -> np.ndarray:
    """One frame for each pixel (row, column), with that pixel set."""
    frames = np.zeros((len(pixels), ROWS, COLUMNS), dtype=bool)
    for frame, (row, column) in zip(frames, pixels, strict=True):
        frame[row, column] = True
    return frames


def test_frames_in_reverse_order_go_to_the_images_that_they_name():
    seg = segmentation(marks((0, 1), (2, 3)), [6.0, 2.0], uids=["1.2.3", "1.2.1"])

    volume = united(seg, stack([0.0, 2.0, 4.0, 6.0]))

    assert np.argwhere(volume).tolist() == [[1, 2, 3], [3, 0, 1]]


def test_omitted_empty_frames_leave_empty_slices():
    seg = segmentation(marks((1, 1), (1, 2)), [2.0, 8.0], uids=["1.2.1", "1.2.4"])

    volume = united(seg, stack([0.0, 2.0, 4.0, 6.0, 8.0]))

    assert volume.any(axis=(1, 2)).tolist() == [False, True, False, False, True]


def test_frames_that_name_no_image_go_to_the_slice_at_their_position():
    seg = segmentation(marks((1, 1), (1, 2)), [2.1, 5.9])

    volume = united(seg, stack([6.0, 4.0, 2.0, 0.0]))

    assert np.argwhere(volume).tolist() == [[0, 1, 2], [2, 1, 1]]


def test_a_frame_between_the_slices_is_refused():
    seg = segmentation(marks((1, 1)), [20.0])

    with pytest.raises(UnreadableResult):
        united(seg, stack([0.0, 2.0, 4.0]))


def test_a_mirrored_segmentation_is_turned_to_the_images():
    seg = segmentation(marks((0, 1)), [2.0], ["1.2.1"], (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0))

    assert np.argwhere(united(seg, stack([0.0, 2.0]))).tolist() == [[1, 0, COLUMNS - 2]]


def test_a_segmentation_with_rows_and_columns_exchanged_is_turned_to_the_images():
    seg = segmentation(marks((0, 1)), [2.0], ["1.2.1"], (0.0, 1.0, 0.0, 1.0, 0.0, 0.0))

    assert np.argwhere(united(seg, stack([0.0, 2.0]))).tolist() == [[1, 1, 0]]


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM"])
def test_what_is_no_segmentation_is_said_to_be_unreadable(content):
    with pytest.raises(UnreadableResult):
        united(content, stack([0.0]))


def compressed(seg: Dataset) -> None:
    seg.file_meta.TransferSyntaxUID = RLELossless
    seg.PixelData = encapsulate([b"\0" * 64])


@pytest.mark.parametrize(
    "fault",
    [
        compressed,
        lambda seg: setattr(
            seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0],
            "ImageOrientationPatient",
            [1.0, 0.0, 0.0],
        ),
        lambda seg: setattr(
            seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0],
            "ImagePositionPatient",
            [0.0, 2.0],
        ),
        lambda seg: delattr(seg, "PixelData"),
        lambda seg: setattr(seg, "Rows", 4000),
    ],
    ids=["compressed", "three cosines", "two coordinates", "no pixels", "other rows"],
)
def test_a_segmentation_that_is_not_whole_is_said_to_be_unreadable(fault):
    seg = dcmread(io.BytesIO(segmentation(marks((1, 1)), [0.0])))
    fault(seg)
    buffer = io.BytesIO()
    seg.save_as(buffer)

    with pytest.raises(UnreadableResult):
        united(buffer.getvalue(), stack([0.0]))


def test_frames_that_each_name_every_image_go_by_their_position():
    seg = dcmread(io.BytesIO(segmentation(marks((1, 1), (1, 2)), [2.0, 6.0], ["1.2.0"] * 2)))
    for group in seg.PerFrameFunctionalGroupsSequence:
        images = []
        for number in range(4):
            image = Dataset()
            image.ReferencedSOPInstanceUID = f"1.2.{number}"
            images.append(image)
        group.DerivationImageSequence[0].SourceImageSequence = images
    buffer = io.BytesIO()
    seg.save_as(buffer)

    volume = united(buffer.getvalue(), stack([0.0, 2.0, 4.0, 6.0]))

    assert np.argwhere(volume).tolist() == [[1, 1, 1], [3, 1, 2]]


def test_a_phase_that_counts_its_slices_the_other_way_is_matched_by_position():
    assert corresponding(stack([0.0, 2.0, 4.0]), stack([4.0, 2.0, 0.0], "b")) == (2, 1, 0)


def test_a_phase_without_a_slice_at_the_same_place_is_refused():
    with pytest.raises(UnreadableResult):
        corresponding(stack([0.0, 2.0, 4.0]), stack([0.0, 2.0], "b"))


@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_a_slice_outside_the_series_is_not_found(index):
    with pytest.raises(SliceNotFound):
        stack([0.0, 2.0, 4.0]).at(index)


def test_each_segment_is_largest_in_the_slice_with_most_of_its_pixels():
    frames = np.zeros((4, ROWS, COLUMNS), dtype=bool)
    frames[0, 0, :2] = frames[1, 0, :3] = frames[2, 2, :3] = frames[3, 3, :1] = True
    heights = [0.0, 2.0, 4.0, 6.0]
    images = stack([6.0, 4.0, 2.0, 0.0])

    seg = segmentation(frames, heights, segments=(1, 1, 1, 2))

    assert marked_in(stored_file(seg), images).largest == {1: 1, 2: 0}
    assert marked_in(
        stored_file(segmentation(frames, heights, segments=(1,) * 4)), images
    ).largest == {1: 1}
    assert marked_in(stored_file(segmentation(frames, heights)), images).largest == {}


def test_of_equally_large_slices_the_middle_one_of_a_lesion_is_taken():
    frames = np.zeros((6, ROWS, COLUMNS), dtype=bool)
    frames[0, 0, :1] = frames[5, 0, :1] = True
    frames[1:5, 0, :3] = True
    heights = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    seg = segmentation(frames, heights, segments=(1,) * 6)
    assert marked_in(stored_file(seg), stack(heights)).largest == {1: 2}


def phases_of_a_study() -> list[Stack]:
    """Two phases of the same slices, whose images have other UIDs."""
    first = stack([0.0, 2.0, 4.0])
    others = tuple(
        Image(f"b{i}", f"1.3.{i}", i + 1, one.position, AXIAL)
        for i, one in enumerate(first.slices[::-1])
    )
    return [first, Stack("study", "b", others)]


@pytest.mark.parametrize(("uids", "place"), [(["1.2.1"], 0), (["1.3.1"], 1), (None, 0)])
def test_a_result_refers_to_the_phase_whose_images_it_names(uids, place):
    seg = segmentation(marks((0, 1)), [2.0], uids=uids)
    assert place_referred(stored_file(seg), phases_of_a_study()) == place


def test_a_result_that_names_images_in_its_list_alone_refers_to_theirs():
    seg = dcmread(io.BytesIO(segmentation(marks((0, 1)), [2.0])))
    image, series = Dataset(), Dataset()
    image.ReferencedSOPInstanceUID = "1.3.1"
    series.ReferencedInstanceSequence = [image]
    seg.ReferencedSeriesSequence = [series]
    buffer = io.BytesIO()
    seg.save_as(buffer)
    assert place_referred(stored_file(buffer.getvalue()), phases_of_a_study()) == 1
