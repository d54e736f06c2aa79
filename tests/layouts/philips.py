"""Philips: TemporalPositionIdentifier counts the dynamics; AcquisitionNumber is that of the scan.

AcquisitionTime is that of the whole scan in older software, TriggerTime the time into it in ms.
Series numbers end in 01 for what was scanned and count on for what was computed. Enhanced MR has
all dynamics as frames of one instance.
"""

from __future__ import annotations

from messages.phases import LeftOut
from tests.layouts.tags import STUDY_DATE, Layout, Series, Tags, stack, times

FFE = {
    "ImageType": "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE",
    "ScanningSequence": "GR",
    "SequenceVariant": "SP",
    "EchoTime": "2.3",
    "DiffusionBValue": "0",
}
OTHERS = {
    "survey": LeftOut.LOCALIZER,
    "t2": LeftOut.OTHER_WEIGHTING,
    "dwi": LeftOut.DIFFUSION,
    "sub": LeftOut.SUBTRACTION,
    "mip": LeftOut.PROJECTION,
}


def others() -> tuple[Series, ...]:
    """What stands around a dynamic scan."""
    at: list[Tags] = [{"AcquisitionTime": "141000", "TemporalPositionIdentifier": "1"}]
    spin_echo = {"ScanningSequence": "SE", "EchoTime": "120"}
    return (
        stack("survey", "SURVEY_BREAST", at, slices=15),
        stack("t2", "T2W_TSE_tra", at, ImageType="ORIGINAL\\PRIMARY\\M_SE\\M\\SE", **spin_echo),
        # Three b-values at every position.
        stack("dwi", "DWI_3b", at * 3, ImageType="ORIGINAL\\PRIMARY\\M_SE\\M\\SE", **spin_echo),
        stack("sub", "sdyn_eTHRIVE", at, ImageType="DERIVED\\SECONDARY\\SUBTRACTION\\M\\FFE"),
        stack("mip", "dyn_eTHRIVE", at, ImageType="DERIVED\\SECONDARY\\PROJECTION IMAGE\\M\\FFE"),
    )


def dynamics(count: int, step_ms: float) -> list[Tags]:
    """What the images of each dynamic share."""
    return [
        {
            "AcquisitionNumber": "7",
            "AcquisitionTime": "142000.00",
            "TemporalPositionIdentifier": str(n + 1),
            "NumberOfTemporalPositions": str(count),
            "TriggerTime": f"{step_ms * n:g}",
        }
        for n in range(count)
    ]


def _one_series() -> Layout:
    return Layout(
        "Philips, all dynamics in one series by TemporalPositionIdentifier",
        (*others(), stack("dyn", "dyn_eTHRIVE", dynamics(6, 61_250.0), **FFE)),
        phases=tuple(("dyn", "TemporalPositionIdentifier", n) for n in "1236"),
        seconds=(0.0, 61.25, 122.5, 306.25),
        left_out=OTHERS,
    )


def _without_times() -> Layout:
    phases = [
        {keyword: value for keyword, value in tags.items() if keyword != "TriggerTime"}
        for tags in dynamics(5, 60_000.0)
    ]
    return Layout(
        "Philips, dynamics of which only the order is told",
        (*others(), stack("dyn", "dyn_eTHRIVE", phases, **FFE)),
        phases=tuple(("dyn", "TemporalPositionIdentifier", n) for n in "1235"),
        seconds=(None, None, None, None),
        left_out=OTHERS,
    )


def _pre_and_dynamic() -> Layout:
    pre: Tags = {"AcquisitionTime": "141530.00", "TemporalPositionIdentifier": "1"}
    return Layout(
        "Philips, one scan before the contrast and a dynamic one after it",
        (
            *others(),
            stack("dyn", "dyn_eTHRIVE", dynamics(5, 60_000.0), **FFE),
            stack("pre", "eTHRIVE_pre", [pre], **FFE),
        ),
        phases=(
            ("pre", "", ""),
            ("dyn", "TemporalPositionIdentifier", "1"),
            ("dyn", "TemporalPositionIdentifier", "2"),
            ("dyn", "TemporalPositionIdentifier", "5"),
        ),
        seconds=(0.0, 270.0, 330.0, 510.0),
        left_out=OTHERS,
    )


def _enhanced() -> Layout:
    frames = [
        {
            "TemporalPositionIndex": str(n),
            # FrameAcquisitionNumber and FrameAcquisitionDateTime.
            "AcquisitionNumber": "1",
            "AcquisitionDate": STUDY_DATE,
            "AcquisitionTime": at,
        }
        for n, at in enumerate(times("142000", 5, 62.0), 1)
    ]
    made = stack(
        "dyn", "dyn_eTHRIVE", frames, **{**FFE, "ImageType": "ORIGINAL\\PRIMARY\\VOLUME\\NONE"}
    )
    # Frames come slice by slice, all dynamics of one slice first.
    images = sorted(made.images, key=lambda tags: tags["ImagePositionPatient"])
    derived = stack(
        "esub",
        "dyn_eTHRIVE",
        frames[1:],
        ImageType="DERIVED\\PRIMARY\\VOLUME\\SUBTRACTION",
    )
    return Layout(
        "Philips, Enhanced MR: all dynamics as frames of one instance",
        (
            Series("dyn", made.tags, tuple(images), multi_frame=True),
            Series("esub", derived.tags, derived.images, multi_frame=True),
        ),
        phases=tuple(("dyn", "TemporalPositionIndex", n) for n in "1235"),
        seconds=(0.0, 62.0, 124.0, 248.0),
        left_out={"esub": LeftOut.SUBTRACTION},
    )


def _korean() -> Layout:
    names = ("조영전 T1 역동적", "조영후 1차", "조영후 2차", "조영후 3차", "조영후 지연기")
    phases = [
        stack(f"ph{n}", name, [{"AcquisitionTime": at}], **FFE)
        for n, (name, at) in enumerate(zip(names, times("142000", 5, 80.0), strict=True))
    ]
    return Layout(
        "A Korean protocol, one series for each phase",
        (
            stack("loc", "위치결정영상", [{"AcquisitionTime": "141000"}], slices=9),
            stack("dwi", "확산강조영상", [{"AcquisitionTime": "141200"}]),
            *phases,
            stack("sub", "감산영상 1차", [{"AcquisitionTime": "142120"}], **FFE),
        ),
        phases=tuple((f"ph{n}", "", "") for n in (0, 1, 2, 4)),
        seconds=(0.0, 80.0, 160.0, 320.0),
        left_out={
            "loc": LeftOut.LOCALIZER,
            "dwi": LeftOut.DIFFUSION,
            "sub": LeftOut.SUBTRACTION,
            "ph3": LeftOut.BETWEEN,
        },
    )


LAYOUTS = (_one_series(), _without_times(), _pre_and_dynamic(), _enhanced(), _korean())
