"""What main process and children hand each other: plain frozen values, small and picklable.

No heavy import here, so that the main process stays free of pydicom and the segmenter too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, PlainSerializer, PlainValidator

from consumer.bundle import TUMOR, ResultCodes
from messages.phases.scale import Scale

#: How a child's answer travels (`consumer.children.wire`), at the classes that are one.
_AS_ANSWER = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
)


def _numbers(values: Any) -> NDArray[np.float64]:
    """An array of what came as JSON; raises ValueError."""
    try:
        return np.array(values, dtype=np.float64)
    except TypeError:
        raise ValueError("no array of numbers") from None


#: An array that a child's answer can hold.
Numbers = Annotated[
    NDArray[np.float64], PlainValidator(_numbers), PlainSerializer(lambda values: values.tolist())
]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a phase lie."""

    #: (slices, 3) in mm, LPS+: centre of each slice's first voxel, ascending along the normal.
    positions: Numbers
    #: Six direction cosines: along a row, then along a column (PS3.3 C.7.6.2.1.1).
    orientation: Numbers
    #: mm between slices, rows, columns.
    spacing: tuple[float, float, float]
    rows: int
    columns: int
    frame_of_reference_uid: str

    def affine_lps(self) -> tuple[tuple[float, ...], ...]:
        """4x4 from (slice, row, column, 1) to LPS mm: PS3.3 equation C.7.6.2.1-1, plus slices."""
        matrix = np.eye(4)
        matrix[:3, 0] = self._step()
        matrix[:3, 1] = self.orientation[3:] * self.spacing[1]
        matrix[:3, 2] = self.orientation[:3] * self.spacing[2]
        matrix[:3, 3] = self.positions[0]
        return tuple(tuple(float(value) for value in row) for row in matrix)

    def _step(self) -> NDArray[np.float64]:
        count = len(self.positions)
        if count == 1:
            return np.cross(self.orientation[:3], self.orientation[3:]) * self.spacing[0]
        # Over the whole stack, so that rounding in the positions does not add up.
        step: NDArray[np.float64] = (self.positions[-1] - self.positions[0]) / (count - 1)
        return step


@dataclass(frozen=True)
class PhaseFiles:
    """One input: the role, and where its series lies in a memory file."""

    role: str
    series_uid: str
    #: Path of the memory file; two roles of one series may share it.
    path: str
    #: (offset, length) in bytes of each Part 10 file.
    files: tuple[tuple[int, int], ...]
    #: Instances that the series held when it was asked for.
    instance_count: int
    #: (DICOM keyword, value) that picks the phase out of a series of several; None takes all.
    selector: tuple[str, str] | None = None
    #: (SOP Class UID, SOP Instance UID) of its slices, once they were read; None before.
    instances: tuple[tuple[str, str], ...] | None = None
    #: Where its slices lie, so that they are not parsed once more; None before they were read.
    slice_index: SliceIndex | None = None


@dataclass(frozen=True)
class SliceIndex:
    """Where the slices of a phase lie, in the patient and in the download."""

    grid: Grid
    #: By slice, the number of its instance in the download, from 1, and its frame there, from 1;
    #: None of a classic instance.
    places: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True)
class DownloadIndex:
    """The inputs of a request in channel order. A result refers to one of them."""

    study_uid: str
    phases: tuple[PhaseFiles, ...]
    #: How the signal of the phases compares, as a run has seen it.
    scale: Scale = Scale.ONE

    def as_read(self, header: VolumeHeader) -> DownloadIndex:
        """The same with what a run has seen of each phase."""
        seen = zip(self.phases, header.instances, header.slice_indices, strict=True)
        phases = tuple(replace(one, instances=uids, slice_index=index) for one, uids, index in seen)
        return replace(self, phases=phases, scale=header.scale)


@dataclass(frozen=True)
class VolumeHeader:
    """What the array of voxels does not say itself."""

    __pydantic_config__ = _AS_ANSWER

    #: In channel order.
    roles: tuple[str, ...]
    #: (channels, slices, rows, columns) of the float32 array.
    shape: tuple[int, int, int, int]
    #: 4x4: (slice, row, column, 1) of a voxel centre -> (x, y, z, 1) in mm, DICOM's LPS+.
    affine_lps: tuple[tuple[float, ...], ...]
    #: Distances in mm between slices, rows and columns.
    spacing: tuple[float, float, float]
    #: (SOP Class UID, SOP Instance UID) by role and slice.
    instances: tuple[tuple[tuple[str, str], ...], ...]
    #: Seconds from the beginning of the first phase to that of each; None where it is not known.
    seconds: tuple[float | None, ...]
    #: In channel order.
    slice_indices: tuple[SliceIndex, ...]
    #: How the signal of the phases compares; the voxels are on the scale of the first where each
    #: states its own.
    scale: Scale = Scale.ONE
    #: `messages.input_digest` of every instance that was read; empty where nobody computed it.
    input_sha256: str = ""


@dataclass(frozen=True)
class Filing:
    """What an archive files the images by, byte for byte as a slice has it."""

    #: Specific Character Set (0008,0005), Patient ID and Study Instance UID; None where absent.
    character_set: bytes | None
    patient_id: bytes | None
    study_uid: bytes | None
    #: Whether the number of the patient is text of the declared set, and so the same in another.
    is_text: bool


@dataclass(frozen=True)
class ResultSpec:
    """What a result says of its origin, and the UIDs derived from the request."""

    request_id: str
    lab: str
    model_name: str
    model_version: str
    #: Of the bundle: 64 hexadecimal digits.
    model_sha256: str
    #: What a reader must know before trusting the result.
    notice: str
    #: Meaning of the mask's values 1, 2, ... in this order.
    labels: tuple[str, ...]
    primary_series_uid: str
    primary_instance_uid: str
    report_series_uid: str
    report_instance_uid: str
    #: What the bundle says of the marked voxels.
    codes: ResultCodes = TUMOR
    #: Role of the phase on which the result is read, as the bundle names it; empty for the default
    #: (`consumer.result.kinetics.reading_place`).
    reading_phase: str = ""
    #: Which request of its study it is, from 1; None where nobody has counted.
    number: int | None = None
    #: When the content was made, ISO 8601 with its offset; empty before.
    created: str = ""
    #: (file in the bundle, 64 hexadecimal digits) of the weights that the bundle declares.
    weights_sha256: tuple[tuple[str, str], ...] = ()
    #: As in the lab's settings: ``cpu`` or ``cuda:0``.
    device: str = "cpu"
    #: Probability from which a voxel counted.
    threshold: float = 0.5
    #: mm^3: a connected mark below this is no segment. 0 keeps all.
    min_lesion_mm3: float = 0.0
    #: `VolumeHeader.input_sha256` of the run that computes the mask; empty before it has read.
    input_sha256: str = ""
    #: The report that this result replaces, as the archive holds it: a Part 10 file.
    predecessor: bytes | None = None
    #: Of the pictures with the outline burnt in; as many are made as there are instance UIDs.
    key_series_uid: str = ""
    key_instance_uids: tuple[str, ...] = ()
    #: How the signal of the phases compared when the model saw it.
    scale: Scale = Scale.ONE
    #: What the result is filed by, as the images are; None before they were read.
    filing: Filing | None = None


@dataclass(frozen=True)
class Volumes:
    """The voxels of all phases, as they were read."""

    #: Path of a memory file.
    path: str
    header: VolumeHeader


@dataclass(frozen=True)
class PackagedPrimary:
    """The primary object, ready to be stored."""

    __pydantic_config__ = _AS_ANSWER

    kind: Literal["seg", "sr"]
    sop_instance_uid: str
    series_uid: str
    #: A DICOM Part 10 file.
    dicom_bytes: bytes


@dataclass(frozen=True)
class StoredModel:
    """Which model computed the stored primary; another lab's may be another version."""

    name: str
    version: str
    #: Of its bundle: 64 hexadecimal digits.
    sha256: str


@dataclass(frozen=True)
class Figures:
    """The figures of ``completed``; their definitions are in `consumer.result.lesions`."""

    tumor_detected: bool
    volume_voxels: int
    volume_ml: float
    longest_diameter_mm: float
    #: Slices of a phase.
    slices: int
    slices_with_tumor: int


@dataclass(frozen=True)
class LesionFacts:
    """One lesion for those who print it; the definitions are in `consumer.result.lesions`."""

    label: str
    volume_ml: float
    longest_diameter_mm: float
    longest_in_plane_mm: float
    #: Percent, and how the late phases go on; None where the model has no such phases.
    wash_in_percent: float | None
    wash_out: str | None
    #: ``left``, ``right`` or ``not_determined``; None of what is no lesion of the breast.
    laterality: str | None = None


@dataclass(frozen=True)
class Measured:
    """All that is reported of a request, taken from the primary as the archive holds it."""

    __pydantic_config__ = _AS_ANSWER

    figures: Figures
    model: StoredModel
    #: The measurement report of a SEG, a DICOM Part 10 file; None when nothing was found.
    report: bytes | None
    #: Slices with the outline burnt in, Part 10 files under `ResultSpec.key_instance_uids`.
    key_slices: tuple[bytes, ...] = ()
    #: What the report says of each lesion, largest first.
    lesions: tuple[LesionFacts, ...] = ()
    #: Marks that are no lesion: below the smallest size, or beyond the most that are kept.
    left_out: int = 0
    #: Why no curves are stated although the phases make one; else empty.
    curves_withheld: str = ""
    #: Type of the error for which there are no key slices although there should be; else empty.
    undrawn: str = ""
    #: Of what the stored primary was computed, as it states it; empty in one written before.
    input_sha256: str = ""
