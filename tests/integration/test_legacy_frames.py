"""One frame for each slice of the series that a SEG refers to: over the anatomy, wherever it lies.

The truth is a region in millimetres. Each slice of the archive is asked itself where its pixels
lie, by the formula of DICOM PS3.3 C.7.6.2.1.1, and no code of the site.
"""

from __future__ import annotations

import io
import time
from base64 import b64decode
from copy import deepcopy
from typing import Any

import highdicom as hd
import httpx
import numpy as np
import pytest
from django.test import Client
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import pack_bits
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from tests.dicom_factory import AXIAL, SAGITTAL, Series, oblique, part10
from tests.integration.web_requests import write_request
from tests.site import reader_of, use_archive
from web.access.models import AuditEntry
from web.legacy import frames

BASE = "/api/mri/segmentation/instances"
SLICES, ROWS, COLUMNS = 9, 14, 20

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def archive(orthanc: OrthancNode, settings: Any) -> OrthancNode:
    use_archive(settings, orthanc)
    return orthanc


@pytest.fixture
def reader(archive: OrthancNode) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(reader_of())
    return client


def in_mm(dataset: Any) -> np.ndarray:
    """(rows, columns, 3): where the middle of each pixel lies."""
    between_rows, between_columns = (float(v) for v in dataset.PixelSpacing)
    along_row, along_column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = np.mgrid[: dataset.Rows, : dataset.Columns]
    return (
        np.array(dataset.ImagePositionPatient, float)
        + columns[..., None] * along_row * between_columns
        + rows[..., None] * along_column * between_rows
    )


class Anatomy:
    """A lopsided region: an ellipsoid and a spur, so that no turn or mirror image is the same."""

    def __init__(self, series: Series, first: int, last: int) -> None:
        affine = series.affine()
        self.middle = (affine @ ((first + last) / 2, ROWS * 0.35, COLUMNS * 0.6, 1))[:3]
        self.spur = (affine @ (last, ROWS * 0.7, COLUMNS * 0.25, 1))[:3]
        self.reach = series.spacing[0] * (last - first) / 2 + 0.1

    def __call__(self, dataset: Any) -> np.ndarray:
        places = in_mm(dataset)
        inside = np.linalg.norm(places - self.middle, axis=-1) < self.reach
        return inside | (np.linalg.norm(places - self.spur, axis=-1) < 1.3)


def store(archive: OrthancNode, files: list[bytes]) -> str:
    """Store them; Orthanc's id of the last."""
    with httpx.Client(base_url=archive.url, auth=(archive.user, archive.password)) as client:
        for file in files:
            answer = client.post("/instances", content=file).raise_for_status().json()
    return str(answer["ID"])


def segmentation(sources: list[Any], mask: np.ndarray, **more: Any) -> Any:
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="tumour",
        segmented_property_category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        segmented_property_type=Code("108369006", "SCT", "Neoplasm"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=generate_uid(),
        series_number=900,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Labrelay tests",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
        **more,
    )


def pictures(answer: Any) -> list[np.ndarray]:
    told = answer.json()
    assert answer.status_code == 200, told
    assert (told["success"], told["start_slice_index"]) == (True, 0)
    assert told["num_frames"] == len(told["frames"])
    assert [frame["index"] for frame in told["frames"]] == list(range(told["num_frames"]))
    found = []
    for frame in told["frames"]:
        image = Image.open(io.BytesIO(b64decode(frame["mask_base64"])))
        assert (image.format, image.mode) == ("PNG", "L")
        found.append(np.asarray(image))
        assert set(np.unique(found[-1])) <= {0, 255}
    return found


def by_instance_number(series: Series) -> list[Any]:
    return sorted(series.datasets, key=lambda dataset: int(dataset.InstanceNumber))


def reversed_numbers(series: Series) -> None:
    for dataset in series.datasets:
        dataset.InstanceNumber = len(series.datasets) + 1 - int(dataset.InstanceNumber)


def numbers_with_gaps(series: Series) -> None:
    for dataset in series.datasets:
        dataset.InstanceNumber = 7 + 3 * int(dataset.InstanceNumber)


@pytest.mark.parametrize("numbers", [None, reversed_numbers, numbers_with_gaps])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, oblique()], ids=["ax", "sag", "obl"])
@pytest.mark.parametrize(
    "maker", ["ours", "reversed frames", "positions only", "all named", "mirrored"]
)
def test_each_frame_lies_on_its_slice(
    archive: OrthancNode, reader: Client, orientation: Any, numbers: Any, maker: str
) -> None:
    series = Series(slices=SLICES, rows=ROWS, columns=COLUMNS, orientation=orientation)
    if numbers:
        numbers(series)
    anatomy = Anatomy(series, 3, 6)
    truth = {ds.SOPInstanceUID: anatomy(ds) for ds in series.datasets}
    backwards = maker == "reversed frames"
    sources = series.datasets[::-1] if backwards else series.datasets
    seg = segmentation(sources, np.stack([truth[ds.SOPInstanceUID] for ds in sources]))
    assert 0 < int(seg.NumberOfFrames) < SLICES, "empty frames are left out"
    if maker in {"positions only", "mirrored"}:
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence
    if maker == "mirrored":
        mirror(seg)
    if maker == "all named":
        name_all(seg)
    # Stored in no order at all.
    shuffled = np.random.default_rng(1).permutation(SLICES)
    files = series.files()
    seg_id = store(archive, [*(files[i] for i in shuffled), part10(seg)])

    found = pictures(reader.get(f"{BASE}/{seg_id}/frames/"))

    shown = by_instance_number(series)
    assert len(found) == len(shown)
    for picture, dataset in zip(found, shown, strict=True):
        assert np.array_equal(picture > 0, truth[dataset.SOPInstanceUID])
    assert sum(picture.any() for picture in found) == int(seg.NumberOfFrames)


def name_all(seg: Any) -> None:
    """Let each frame name the images of all frames."""
    groups = seg.PerFrameFunctionalGroupsSequence
    images = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in groups]
    for group in groups:
        group.DerivationImageSequence[0].SourceImageSequence = images


def mirror(seg: Any) -> None:
    """Write the same mask with its columns counted from the other side, as some makers do."""
    frames_now = seg.pixel_array
    shared = seg.SharedFunctionalGroupsSequence[0]
    plane = shared.PlaneOrientationSequence[0]
    along_row = np.array(plane.ImageOrientationPatient[:3], float)
    width = (COLUMNS - 1) * float(shared.PixelMeasuresSequence[0].PixelSpacing[1])
    plane.ImageOrientationPatient = [*(-along_row), *plane.ImageOrientationPatient[3:]]
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        moved = np.array(position.ImagePositionPatient, float) + along_row * width
        position.ImagePositionPatient = [f"{v:.8g}" for v in moved]
    seg.PixelData = pack_bits(frames_now[:, :, ::-1])


def first_and_reversed() -> tuple[Series, Series]:
    """Two series of one study on one grid; the second counts its slices the other way round."""
    first = Series(slices=SLICES, rows=ROWS, columns=COLUMNS)
    second = Series(
        slices=SLICES,
        rows=ROWS,
        columns=COLUMNS,
        study_uid=first.study_uid,
        frame_uid=first.frame_uid,
    )
    reversed_numbers(second)
    return first, second


def test_of_several_series_the_one_that_the_frames_name_is_shown(
    archive: OrthancNode, reader: Client
) -> None:
    first, second = first_and_reversed()
    anatomy = Anatomy(second, 2, 4)
    truth = {ds.SOPInstanceUID: anatomy(ds) for ds in second.datasets}
    seg = segmentation(second.datasets, np.stack(list(truth.values())))
    listed = seg.ReferencedSeriesSequence
    both = deepcopy(listed[0])
    both.SeriesInstanceUID = first.series_uid
    for item, dataset in zip(both.ReferencedInstanceSequence, first.datasets, strict=True):
        item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    seg.ReferencedSeriesSequence = [both, listed[0]]
    seg_id = store(archive, [*first.files(), *second.files(), part10(seg)])

    found = pictures(reader.get(f"{BASE}/{seg_id}/frames/"))

    for picture, dataset in zip(found, by_instance_number(second), strict=True):
        assert np.array_equal(picture > 0, truth[dataset.SOPInstanceUID])


def test_what_is_no_segmentation_or_not_there_is_404_and_looking_is_noted(
    archive: OrthancNode, reader: Client
) -> None:
    series = Series(slices=3, rows=ROWS, columns=COLUMNS)
    mask = np.zeros((3, ROWS, COLUMNS), bool)
    mask[1, 2:5, 3:9] = True
    image_id = store(archive, series.files())
    seg_id = store(archive, [part10(segmentation(series.datasets, mask))])
    for wrong in (image_id, "-".join(["0123abcd"] * 5), "..", "%2e%2e%2fsystem", "x"):
        answer = reader.get(f"{BASE}/{wrong}/frames/")
        assert answer.status_code == 404, wrong
        assert answer.json()["success"] is False
        assert answer.json()["error"].endswith(".")
    other = Client()
    other.force_login(reader_of("-".join(["ffff0000"] * 5), name="other"))
    assert other.get(f"{BASE}/{seg_id}/frames/").status_code == 404
    assert AuditEntry.objects.get(action="refused").subject == seg_id
    assert len(pictures(reader.get(f"{BASE}/{seg_id}/frames/"))) == 3
    reader.get(f"{BASE}/{seg_id}/frames/")
    # Each time: what a program does with them, nobody knows.
    exported = AuditEntry.objects.filter(action="exported").values_list("subject", flat=True)
    assert list(exported) == [seg_id] * 2


def test_a_segmentation_on_another_plane_is_a_sentence(
    archive: OrthancNode, reader: Client
) -> None:
    series = Series(slices=3, rows=ROWS, columns=COLUMNS)
    mask = np.zeros((3, ROWS, COLUMNS), bool)
    mask[1, 2:5, 3:9] = True
    seg = segmentation(series.datasets, mask)
    plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = list(SAGITTAL)
    seg_id = store(archive, [*series.files(), part10(seg)])
    answer = reader.get(f"{BASE}/{seg_id}/frames/")
    assert answer.status_code == 500
    assert answer.json() == {
        "success": False,
        "error": "저장된 결과를 이 영상 위에 표시할 수 없습니다.",
    }


def test_134_slices_are_answered_within_seconds(archive: OrthancNode, reader: Client) -> None:
    series = Series(slices=134, rows=256, columns=256)
    mask = np.zeros((134, 256, 256), bool)
    mask[40:80, 90:140, 60:120] = True
    seg_id = store(archive, [*series.files(), part10(segmentation(series.datasets, mask))])
    frames._kept_pictures.forget()
    began = time.monotonic()
    found = pictures(reader.get(f"{BASE}/{seg_id}/frames/"))
    assert time.monotonic() - began < 5.0
    assert [picture.any() for picture in found] == [40 <= i < 80 for i in range(134)]


def test_the_truth_of_this_file_is_what_the_archive_has(archive: OrthancNode) -> None:
    series = Series(slices=2, rows=ROWS, columns=COLUMNS, orientation=oblique())
    last = store(archive, series.files())
    with httpx.Client(base_url=archive.url, auth=(archive.user, archive.password)) as client:
        stored = dcmread(io.BytesIO(client.get(f"/instances/{last}/file").content))
    assert np.allclose(in_mm(stored)[2, 3], (series.affine() @ (1, 2, 3, 1))[:3])


def test_where_the_chosen_phase_is_gone_no_other_phase_lies_over_its_series(
    archive: OrthancNode, reader: Client
) -> None:
    """The front end shows the first input, and would lay the slices of another series over it."""
    first, second = first_and_reversed()
    anatomy = Anatomy(second, 2, 4)
    seg = segmentation(second.datasets, np.stack([anatomy(ds) for ds in second.datasets]))
    store(archive, first.files())
    seg_id = store(archive, [*second.files(), part10(seg)])
    with httpx.Client(base_url=archive.url, auth=(archive.user, archive.password)) as client:
        study_id = client.get(f"/instances/{seg_id}/study").json()["ID"]
        listed = client.get(f"/studies/{study_id}/series").json()
    ids = {item["MainDicomTags"]["SeriesInstanceUID"]: item["ID"] for item in listed}
    chosen = {"keyword": "TemporalPositionIdentifier", "value": "7"}
    row = write_request()
    row.study_id, row.study_uid = study_id, first.study_uid
    row.inputs[0] |= {"series_id": ids[first.series_uid], "phase_selector": chosen}
    row.result = {"seg_instance_id": seg_id}
    row.save()

    answer = reader.get(f"{BASE}/{seg_id}/frames/")
    assert answer.status_code == 500
    assert answer.json()["error"] == "저장된 결과를 이 영상 위에 표시할 수 없습니다."

    # The series itself is gone: nothing is shown that the slices could lie over.
    row.inputs[0]["series_id"] = "-".join(["0123abcd"] * 5)
    row.save()
    assert len(pictures(reader.get(f"{BASE}/{seg_id}/frames/"))) == SLICES
