"""The attributes of a phantom's DICOM headers that do not tell one series from another."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np

from infra.phantom.grid import Grid
from infra.phantom.study import PhantomStudy

#: Shown by every viewer that shows comments.
COMMENT: Final = "Simulated phantom: not a patient, not for clinical use."
Name = Literal["axial", "coronal", "sagittal"]


@dataclass(frozen=True)
class Plane:
    """One image plane of the grid: which way it is cut, and at which index."""

    NAMES: ClassVar[tuple[Name, Name, Name]] = ("axial", "coronal", "sagittal")

    grid: Grid
    name: Name
    index: int


def describe_plane(dataset: Any, plane: Plane) -> None:
    """Set position, orientation and spacing; coronal and sagittal rows run from the head down."""
    grid, index = plane.grid, plane.index
    thick, pixel, _ = grid.spacing
    z, y, x = grid.origin
    top = z + thick * (grid.slices - 1)
    # For each plane: position, direction along a row, direction down a column, spacing, depth.
    position, along, down, spacing, depth = {
        "axial": ((x, y, z + thick * index), (1, 0, 0), (0, 1, 0), (pixel, pixel), thick),
        "coronal": ((x, y + pixel * index, top), (1, 0, 0), (0, 0, -1), (thick, pixel), pixel),
        "sagittal": ((x + pixel * index, y, top), (0, 1, 0), (0, 0, -1), (thick, pixel), pixel),
    }[plane.name]
    dataset.ImagePositionPatient = [round(value, 6) for value in position]
    dataset.ImageOrientationPatient = [*along, *down]
    dataset.PixelSpacing = [round(value, 6) for value in spacing]
    dataset.SliceThickness = round(depth, 6)
    dataset.SpacingBetweenSlices = round(depth, 6)
    normal = np.cross(along, down)
    dataset.SliceLocation = round(float(np.dot(normal, position)), 6)


def describe_patient(dataset: Any, seed: int) -> None:
    """Name a patient who cannot be mistaken for one."""
    dataset.PatientName = "PHANTOM^SIMULATED"
    dataset.PatientID = f"PHANTOM-{seed:06d}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "F"
    dataset.ImageComments = COMMENT
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Simulated: never was a patient"


def describe_scan(dataset: Any, study: PhantomStudy) -> None:
    """Describe a scanner and a pixel format; the window is the same over the whole study."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.Modality = "MR"
    dataset.Manufacturer = "Labrelay phantom"
    dataset.ManufacturerModelName = study.preset
    dataset.InstitutionName = ""
    dataset.ReferringPhysicianName = ""
    dataset.AccessionNumber = ""
    dataset.StudyID = str(study.seed)
    dataset.StudyDescription = "Simulated breast DCE-MRI"
    dataset.ProtocolName = "Simulated breast DCE-MRI"
    dataset.BodyPartExamined = "BREAST"
    dataset.PatientPosition = "HFP"
    # The standard wants a side for a paired organ and has no value for both.
    dataset.Laterality = ""
    dataset.PositionReferenceIndicator = ""
    dataset.ScanningSequence = "GR"
    dataset.SequenceVariant = ["SP", "OSP"]
    dataset.ScanOptions = "FS"
    dataset.MRAcquisitionType = "3D"
    dataset.MagneticFieldStrength = 3
    dataset.RepetitionTime = 4.5
    dataset.EchoTime = 1.7
    dataset.EchoTrainLength = 1
    dataset.FlipAngle = 10
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    # Only 1 voxel in 1000 of the first post-contrast phase is brighter than the window.
    top = max(10, 10 * round(float(np.percentile(study.phases[1], 99.9)) / 10))
    dataset.WindowCenter, dataset.WindowWidth = top / 2, top
