"""Small MR series with a known geometry, as Part 10 bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, PhaseFiles, ResultSpec

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def oblique() -> tuple[float, ...]:
    """Axial, turned by 20 degrees about x and then by 30 degrees about z."""
    a, b = np.deg2rad(20), np.deg2rad(30)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turn = about_z @ about_x
    return (*turn[:, 0].round(8), *turn[:, 1].round(8))


@dataclass
class Series:
    """One phase on a regular grid; change `datasets` before `files()` to break it."""

    slices: int = 6
    rows: int = 8
    columns: int = 10
    orientation: tuple[float, ...] = AXIAL
    #: mm between slices, rows, columns.
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.6)
    origin: tuple[float, float, float] = (-40.0, 12.5, 7.25)
    study_uid: str = field(default_factory=generate_uid)
    series_uid: str = field(default_factory=generate_uid)
    frame_uid: str = field(default_factory=generate_uid)
    time: str = "101500"
    pixels: np.ndarray | None = None
    datasets: list[Dataset] = field(init=False)

    def __post_init__(self) -> None:
        if self.pixels is None:
            count = self.slices * self.rows * self.columns
            self.pixels = np.arange(count, dtype=np.uint16).reshape(
                self.slices, self.rows, self.columns
            )
        self.datasets = [self._instance(number) for number in range(self.slices)]

    def affine(self) -> np.ndarray:
        """(slice, row, column, 1) -> LPS mm, by the formula of PS3.3 C.7.6.2.1.1."""
        along_row, along_column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        matrix = np.eye(4)
        matrix[:3, 0] = np.cross(along_row, along_column) * self.spacing[0]
        matrix[:3, 1] = along_column * self.spacing[1]
        matrix[:3, 2] = along_row * self.spacing[2]
        matrix[:3, 3] = self.origin
        return matrix

    def _instance(self, number: int) -> Dataset:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        ds = Dataset()
        ds.file_meta = meta
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.SOPClassUID = MRImageStorage
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.study_uid, self.series_uid
        ds.FrameOfReferenceUID = self.frame_uid
        ds.PositionReferenceIndicator = ""
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Test^Phantom", "T-1", "19700101"
        ds.PatientSex, ds.StudyID, ds.AccessionNumber = "F", "1", "A-1"
        ds.ReferringPhysicianName = ""
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260102"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = self.time
        ds.Modality, ds.Manufacturer, ds.SeriesNumber = "MR", "Labrelay tests", 3
        ds.InstanceNumber = number + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "GR", "SP", ""
        ds.MRAcquisitionType, ds.EchoTime, ds.EchoTrainLength = "3D", "2", "1"
        ds.RepetitionTime = "5"
        ds.ImageOrientationPatient = [f"{v:.8g}" for v in self.orientation]
        position = self.affine() @ (number, 0, 0, 1)
        ds.ImagePositionPatient = [f"{v:.8g}" for v in position[:3]]
        ds.PixelSpacing = [f"{v:.8g}" for v in self.spacing[1:]]
        # Not the distance between slices: what takes the thickness for it is caught.
        ds.SliceThickness = f"{self.spacing[0] * 2:.8g}"
        ds.Rows, ds.Columns = self.rows, self.columns
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        assert self.pixels is not None
        ds.PixelData = self.pixels[number].astype("<u2").tobytes()
        return ds

    def files(self) -> list[bytes]:
        """Every instance as a Part 10 file, in the order of `datasets`."""
        return [part10(ds) for ds in self.datasets]


def part10(ds: Dataset) -> bytes:
    """The dataset as a file."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def place(
    memory: MemoryFile, files: list[bytes], role: str, series_uid: str, **changes: object
) -> PhaseFiles:
    """Write files into the memory with noise between them, as a multipart body has it."""
    ranges = []
    for data in files:
        memory.write(b"\r\n--boundary\r\n\r\n")
        ranges.append((memory.size, len(data)))
        memory.write(data)
    values: dict[str, object] = {
        "role": role,
        "series_uid": series_uid,
        "path": memory.path,
        "files": tuple(ranges),
        "instance_count": len(files),
        **changes,
    }
    return PhaseFiles(**values)  # type: ignore[arg-type]


def index(memory: MemoryFile, **phases: Series) -> DownloadIndex:
    """All phases in one memory file, under their roles."""
    placed = tuple(
        place(memory, series.files(), role, series.series_uid) for role, series in phases.items()
    )
    return DownloadIndex(next(iter(phases.values())).study_uid, placed)


def spec(**changes: object) -> ResultSpec:
    """A result of a model that does not exist."""
    values: dict[str, object] = {
        "request_id": "0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c11",
        "lab": "lab-1",
        "model_name": "breast-dce-phantom",
        "model_version": "0.1.0",
        "model_sha256": "ab" * 32,
        "notice": "Trained on simulated phantoms, not for clinical use",
        "labels": ("tumour",),
        "primary_series_uid": generate_uid(),
        "primary_instance_uid": generate_uid(),
        "report_series_uid": generate_uid(),
        "report_instance_uid": generate_uid(),
        **changes,
    }
    return ResultSpec(**values)  # type: ignore[arg-type]
