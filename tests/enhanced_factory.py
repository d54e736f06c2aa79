"""Small Enhanced (multi-frame) MR objects with a known geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from tests.dicom_factory import Series

#: What every frame of the factory's objects has in common, unless it is told otherwise.
SHARED = frozenset({"PlaneOrientationSequence", "PixelMeasuresSequence"})

#: Of the classic instance, and of a frame here.
_OF_A_FRAME = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "AcquisitionTime",
    "PixelData",
)


def enhanced(
    phases: Sequence[Series],
    *,
    order: Sequence[tuple[int, int]] | None = None,
    shared: frozenset[str] = SHARED,
    sop_class: str = EnhancedMRImageStorage,
) -> Dataset:
    """One instance of the first phase's series that holds slices of all `phases`.

    `order` lists (phase, slice) from 0 as the frames come; by default phase after phase.
    TemporalPositionIndex counts phases from 1, FrameAcquisitionNumber from 11.
    """
    order = order or [
        (phase, place) for phase, one in enumerate(phases) for place in range(one.slices)
    ]
    ds = deepcopy(phases[0].datasets[0])
    for keyword in _OF_A_FRAME:
        ds.pop(keyword, None)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = phases[0].series_uid
    ds.AcquisitionDateTime = f"20260102{phases[0].time}"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    ds.NumberOfFrames = len(order)
    groups = [_groups(phases[phase].datasets[place], phase, place) for phase, place in order]
    common = {name: groups[0][name] for name in shared}
    ds.SharedFunctionalGroupsSequence = [_item(common)]
    ds.PerFrameFunctionalGroupsSequence = [
        _item({name: group for name, group in one.items() if name not in shared}) for one in groups
    ]
    ds.PixelData = b"".join(phases[phase].datasets[place].PixelData for phase, place in order)
    return ds


def _groups(ds: Dataset, phase: int, place: int) -> dict[str, Dataset]:
    return {
        "PlanePositionSequence": _values(ds, "ImagePositionPatient"),
        "PlaneOrientationSequence": _values(ds, "ImageOrientationPatient"),
        "PixelMeasuresSequence": _values(ds, "PixelSpacing", "SliceThickness"),
        "PixelValueTransformationSequence": _values(
            ds, "RescaleSlope", "RescaleIntercept", RescaleSlope="1", RescaleIntercept="0"
        ),
        "FrameContentSequence": _values(
            ds,
            TemporalPositionIndex=phase + 1,
            FrameAcquisitionNumber=phase + 11,
            FrameAcquisitionDateTime=f"{ds.AcquisitionDate}{ds.AcquisitionTime}.25+0900",
            InStackPositionNumber=place + 1,
            StackID="1",
        ),
    }


def _values(ds: Dataset, *keywords: str, **others: object) -> Dataset:
    item = Dataset()
    for keyword, value in others.items():
        setattr(item, keyword, value)
    for keyword in keywords:
        if keyword in ds:
            setattr(item, keyword, ds[keyword].value)
    return item


def _item(groups: Mapping[str, Dataset]) -> Dataset:
    item = Dataset()
    for name, group in groups.items():
        setattr(item, name, [group])
    return item
