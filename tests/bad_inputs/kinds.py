"""Objects that are no slices of MR, and series that are not what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedPDFStorage,
    MRSpectroscopyStorage,
    SecondaryCaptureImageStorage,
)

from consumer.children import reader
from consumer.memory import MemoryFile
from messages.failures import FailureCode
from tests.bad_inputs.study import (
    BadInput,
    Phase,
    Study,
    brain,
    changed,
    each,
    planted,
    real,
    real_file,
    series,
    setting,
    study_of,
    uid,
)
from tests.dicom_factory import Series, part10, spec

UNSUPPORTED, CHANGED = FailureCode.UNSUPPORTED_IMAGE, FailureCode.SERIES_CHANGED
MISSED = FailureCode.MISSING_ATTRIBUTE
GEOMETRY, UNREADABLE = FailureCode.GEOMETRY_MISMATCH, FailureCode.UNREADABLE_DICOM


def _our_own(*, found: bool) -> Callable[[], Study]:
    """A result of ours, SEG or report, asked for as if it were a phase."""

    def build() -> Study:
        source = study_of(("pre", series()))
        with source.downloaded() as index, MemoryFile() as mask:
            values = np.zeros((4, 8, 10), np.uint8)
            values[1, 2:4, 3:5] = found
            mask.write(values.tobytes())
            packaged = reader.package(index, mask.path, values.shape, spec())
        return Study(
            source.study_uid, (Phase("pre", packaged.series_uid, (packaged.dicom_bytes,)),)
        )

    return build


def _kind(uid: str) -> Callable[[Dataset], None]:
    return setting(SOPClassUID=uid)


def _foreign(name: str) -> Callable[[], Study]:
    """A file as it is, asked for by its own UIDs."""

    def build() -> Study:
        ds = dcmread(BytesIO(real_file(name).read_bytes()))
        planted([ds])
        return Study(ds.StudyInstanceUID, (Phase("pre", ds.SeriesInstanceUID, (part10(ds),)),))

    return build


def _asked(change: Callable[[Phase], Phase]) -> Callable[[], Study]:
    def build() -> Study:
        study = study_of(("pre", series()))
        return Study(study.study_uid, tuple(change(phase) for phase in study.phases))

    return build


def _other_study() -> Study:
    return replace(study_of(("pre", series())), study_uid=uid())


def _mixed(all_: list[Dataset]) -> None:
    all_[2].SeriesInstanceUID = uid()


def _two(**options: object) -> Callable[[], Study]:
    """Two phases, the second with other options."""

    def build() -> Study:
        pre = series()
        same: dict[str, object] = {
            "study_uid": pre.study_uid,
            "frame_uid": pre.frame_uid,
            "time": "101630",
        }
        return study_of(("pre", pre), ("post1", series(**{**same, **options})))

    return build


def _earlier() -> Study:
    pre: Series = series(time="101500")
    post = series(study_uid=pre.study_uid, frame_uid=pre.frame_uid, time="101400")
    return study_of(("pre", pre), ("post1", post))


KINDS = (
    BadInput("a segmentation of ours", UNSUPPORTED, _our_own(found=True)),
    BadInput("a report of ours", UNSUPPORTED, _our_own(found=False)),
    BadInput("a report of a vendor", UNSUPPORTED, _foreign("test-SR.dcm")),
    BadInput("a real CT", UNSUPPORTED, _foreign("CT_small.dcm")),
    BadInput("a real secondary capture", UNSUPPORTED, _foreign("SC_rgb_rle.dcm")),
    BadInput("a real deflated capture", UNSUPPORTED, _foreign("image_dfl.dcm")),
    BadInput("a real dose", UNSUPPORTED, _foreign("rtdose.dcm")),
    BadInput("a real plan", UNSUPPORTED, _foreign("rtplan.dcm")),
    BadInput("a real curve", UNSUPPORTED, _foreign("waveform_ecg.dcm")),
    BadInput("a real ultrasound film", UNSUPPORTED, _foreign("examples_ybr_color.dcm")),
    BadInput("CT slices", UNSUPPORTED, each(_kind(CTImageStorage))),
    BadInput("captures of slices", UNSUPPORTED, each(_kind(SecondaryCaptureImageStorage))),
    BadInput("spectroscopy", UNSUPPORTED, each(_kind(MRSpectroscopyStorage))),
    BadInput("a document", UNSUPPORTED, each(_kind(EncapsulatedPDFStorage))),
    BadInput("an unknown class", UNSUPPORTED, each(_kind("1.2.3.4"))),
    BadInput(
        "one CT slice among them", UNSUPPORTED, changed(lambda a: _kind(CTImageStorage)(a[3]))
    ),
)

CHANGES = (
    BadInput("an instance fewer than asked for", CHANGED, _asked(lambda p: replace(p, asked=5))),
    BadInput("one more than asked for", CHANGED, _asked(lambda p: replace(p, asked=3))),
    BadInput(
        "another series than asked for",
        CHANGED,
        _asked(lambda p: replace(p, series_uid=uid())),
    ),
    BadInput("another study than asked for", CHANGED, _other_study),
    BadInput("an instance of another series", CHANGED, changed(_mixed)),
    BadInput(
        "no slice of the phase that was asked for",
        CHANGED,
        _asked(lambda p: replace(p, selector=("TemporalPositionIdentifier", "7"))),
    ),
    BadInput(
        "the same instance twice",
        GEOMETRY,
        _asked(lambda p: replace(p, files=(*p.files, p.files[0]))),
    ),
)

PHASES = (
    BadInput("a phase of more slices", GEOMETRY, _two(slices=5)),
    BadInput("a phase elsewhere", GEOMETRY, _two(origin=(0.0, 0.0, 0.0))),
    BadInput("a phase of other pixels", GEOMETRY, _two(spacing=(2.5, 0.7, 0.6))),
    BadInput("a phase in another frame of reference", GEOMETRY, _two(frame_uid="1.2.3")),
    BadInput("phases against their order", FailureCode.PHASES_OUT_OF_ORDER, _earlier),
)


def _of(place: int, **values: object) -> Callable[[list[Dataset]], None]:
    return lambda datasets: setting(**values)(datasets[place])


BRAIN = (
    BadInput("a real series without a slice", GEOMETRY, brain(lambda a: a.pop(7))),
    BadInput("a real series with a slice twice", GEOMETRY, brain(lambda a: a.append(a[3]))),
    BadInput(
        "a real series with a slice moved by 3 mm",
        GEOMETRY,
        brain(lambda a: a[9].ImagePositionPatient.__setitem__(0, a[9].ImagePositionPatient[0] + 3)),
    ),
    BadInput(
        "a real series with a slice turned",
        GEOMETRY,
        brain(_of(4, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])),
    ),
    BadInput(
        "a real series with a slice of other spacing", GEOMETRY, brain(_of(4, PixelSpacing=[1, 1]))
    ),
    BadInput(
        "a real series with a slice of no number",
        UNREADABLE,
        brain(_of(11, RescaleSlope=float("nan"))),
    ),
    BadInput("a real series with a slice of fewer rows", UNREADABLE, brain(_of(19, Rows=255))),
    BadInput(
        "a real series with a slice of another series",
        CHANGED,
        brain(_of(12, SeriesInstanceUID="1.2.3")),
    ),
)

REAL = (
    BadInput("a real slice twice", GEOMETRY, real("MR_small.dcm", copies=2)),
    BadInput(
        "a real slice without thickness",
        GEOMETRY,
        real("MR_small_implicit.dcm", lambda ds: ds.__delattr__("SliceThickness")),
    ),
    BadInput(
        "a real slice of no frame of reference",
        MISSED,
        real("MR_small_bigendian.dcm", lambda ds: ds.__delattr__("FrameOfReferenceUID")),
    ),
    BadInput(
        "a real slice of NaN cosines",
        UNREADABLE,
        real("MR_small_RLE.dcm", setting(ImageOrientationPatient=[float("nan")] * 6)),
    ),
    BadInput("a real Enhanced MR that lost its functional groups", MISSED, real("emri_small.dcm")),
    BadInput(
        "a real Enhanced MR of a million frames",
        UNREADABLE,
        real("emri_small_big_endian.dcm", setting(NumberOfFrames=10**6)),
    ),
    BadInput(
        "a real Enhanced MR of a million compressed frames",
        MISSED,
        real("emri_small_RLE.dcm", setting(NumberOfFrames=10**6)),
    ),
)

ROWS = (*KINDS, *CHANGES, *PHASES, *BRAIN, *REAL)
