"""Siemens: AcquisitionNumber counts the repetitions of a 3D scan, ContentTime differs by slice.

No TemporalPositionIdentifier. Subtractions and projections come as series of their own from the
console ("inline"), with the acquisition time of what they were made from. Descriptions are those
of the protocol, with a suffix for what was computed.
"""

from __future__ import annotations

from messages.phases import LeftOut, Problem
from tests.layouts.tags import SAGITTAL, Layout, Series, Tags, stack, times, without

M = "ORIGINAL\\PRIMARY\\M\\ND\\NORM"
DYN = "t1_fl3d_tra_dynaVIEWS_spair_1+4"
GRADIENT_ECHO = {
    "ImageType": M,
    "ScanningSequence": "GR",
    "SequenceName": "*fl3d1",
    "EchoTime": "1.62",
}


def measured(first: str, count: int, step_s: float) -> list[Tags]:
    """What the images of each repetition share."""
    return [
        {"AcquisitionNumber": str(n), "AcquisitionTime": at}
        for n, at in enumerate(times(first, count, step_s), 1)
    ]


#: ContentTime is that of the reconstruction, another one for each slice.
CONTENT = [{"ContentTime": at} for at in times("113000", 12, 0.125)]


def others() -> tuple[Series, ...]:
    """What stands around a dynamic scan."""
    localizer = stack("loc", "localizer", [{}], slices=3, AcquisitionTime="101000")
    sagittal = stack("loc2", "localizer", [{}], slices=3, orientation=SAGITTAL)
    tirm = {"ScanningSequence": "SE\\IR", "SequenceName": "*tir2d1rs16", "EchoTime": "70"}
    # Four b-values at every position: nothing that counts phases tells them apart.
    trace = stack(
        "dwi",
        "ep2d_diff_tra_spair_b50_800_TRACEW",
        [{"AcquisitionNumber": "1", "AcquisitionTime": "101800"}] * 2,
        ImageType="ORIGINAL\\PRIMARY\\DIFFUSION\\TRACEW\\ND\\NORM",
    )
    adc = stack(
        "adc",
        "ep2d_diff_tra_spair_b50_800_ADC",
        [{"AcquisitionTime": "101800"}],
        ImageType="DERIVED\\PRIMARY\\DIFFUSION\\ADC\\ND\\NORM",
    )
    return (
        Series("loc", localizer.tags, localizer.images + sagittal.images),
        stack("tirm", "t2_tirm_tra", [{"AcquisitionTime": "101200"}], ImageType=M, **tirm),
        trace,
        adc,
    )


OTHERS = {
    "loc": LeftOut.LOCALIZER,
    "tirm": LeftOut.OTHER_WEIGHTING,
    "dwi": LeftOut.DIFFUSION,
    "adc": LeftOut.DIFFUSION,
}


def _per_phase() -> Layout:
    repetitions = measured("103000", 5, 92.5)
    phases = [
        stack(f"ph{n}", DYN, [tags], each=CONTENT, **GRADIENT_ECHO)
        for n, tags in enumerate(repetitions)
    ]
    subtractions = [
        stack(f"sub{n}", f"{DYN}_SUB", [tags], **{**GRADIENT_ECHO, "ImageType": f"{M}\\SUB"})
        for n, tags in enumerate(repetitions)
        if n
    ]
    # The console gives a projection of one subtraction, in one image or turned about an axis.
    projections = [
        stack("mip", f"{DYN}_SUB_MIP_TRA", [repetitions[2]], slices=1, ImageType=f"{M}\\SUB\\MIP"),
        stack(
            "mipcor",
            "MIP Range[1]",
            [repetitions[2]],
            slices=12,
            ImageType="DERIVED\\SECONDARY\\MPR\\CSA MIP\\CSAPARALLEL",
        ),
    ]
    return Layout(
        "Siemens, one series for each phase, subtractions and projections",
        (*others(), *phases[::-1], *subtractions, *projections),
        phases=(("ph0", "", ""), ("ph1", "", ""), ("ph2", "", ""), ("ph4", "", "")),
        seconds=(0.0, 92.5, 185.0, 370.0),
        left_out={
            **OTHERS,
            "ph3": LeftOut.BETWEEN,
            **{f"sub{n}": LeftOut.SUBTRACTION for n in range(1, 5)},
            "mip": LeftOut.SUBTRACTION,
            "mipcor": LeftOut.PROJECTION,
        },
    )


def _one_series() -> Layout:
    dynamic = stack(
        "dyn",
        "t1_vibe_spair_tra_dyn",
        measured("103000", 6, 60.0),
        each=CONTENT,
        **{**GRADIENT_ECHO, "SequenceName": "*fl3d1_ns", "ScanOptions": "PFP\\SFS"},
    )
    # Slices copied from the dynamic scan, as protocols often do.
    static = stack(
        "static",
        "t1_fl3d_tra_non_fs",
        [{"AcquisitionNumber": "1", "AcquisitionTime": "102500"}],
        **{**GRADIENT_ECHO, "ScanOptions": "PFP"},
    )
    return Layout(
        "Siemens VIBE, all phases in one series by AcquisitionNumber",
        (*others(), static, dynamic),
        phases=tuple(("dyn", "AcquisitionNumber", n) for n in "1236"),
        seconds=(0.0, 60.0, 120.0, 300.0),
        left_out={**OTHERS, "static": LeftOut.OTHER_CONTRAST},
    )


def _twist() -> Layout:
    twist = stack("twist", "t1_twist_tra_wi", measured("103000", 24, 5.1), **GRADIENT_ECHO)
    return Layout(
        "Siemens TWIST, 24 time points in two minutes",
        (*others(), twist),
        problem=Problem.TOO_CLOSE,
        left_out=OTHERS,
    )


def _twist_and_vibe() -> Layout:
    twist = stack(
        "twist",
        "t1_twist_tra",
        measured("103000", 24, 5.1),
        **{**GRADIENT_ECHO, "PixelSpacing": "1.2000\\1.2000", "Rows": "300", "Columns": "300"},
    )
    vibe = stack("dyn", "t1_vibe_tra_dyn", measured("103300", 5, 60.0), **GRADIENT_ECHO)
    return Layout(
        "Siemens TWIST for the first pass, then five phases of VIBE on a finer grid",
        (twist, vibe),
        problem=Problem.SEVERAL_GRIDS,
    )


def _dixon() -> Layout:
    repetitions = measured("103000", 5, 70.0)
    parts = {"W": "WATER", "F": "FAT", "in": "IN_PHASE", "opp": "OPP_PHASE"}
    series = tuple(
        stack(
            part,
            f"t1_vibe_dixon_dyn_{part}",
            repetitions,
            **{**GRADIENT_ECHO, "ImageType": f"DERIVED\\PRIMARY\\M\\ND\\NORM\\DIXON\\{name}"},
        )
        for part, name in parts.items()
    )
    return Layout(
        "Siemens VIBE Dixon: water, fat, in-phase and opposed-phase series of the same phases",
        series,
        phases=tuple(("W", "AcquisitionNumber", n) for n in "1235"),
        seconds=(0.0, 70.0, 140.0, 280.0),
        left_out=dict.fromkeys(("F", "in", "opp"), LeftOut.DIXON_PART),
    )


def _past_midnight() -> Layout:
    clock = list(times("235730", 5, 90.0))
    phases = [
        {
            "AcquisitionNumber": "1",
            "AcquisitionTime": at,
            "AcquisitionDate": "20260302" if at > "12" else "20260303",
        }
        for at in clock
    ]
    dynamic = stack("dyn", "t1_vibe_tra_dyn", phases, each=CONTENT, **GRADIENT_ECHO)
    return Layout(
        "An emergency past midnight, one series told apart by AcquisitionTime",
        (*others(), dynamic),
        phases=tuple(("dyn", "AcquisitionTime", clock[n]) for n in (0, 1, 2, 4)),
        seconds=(0.0, 90.0, 180.0, 360.0),
        left_out=OTHERS,
    )


def _repeated() -> Layout:
    return Layout(
        "The patient moved after two phases: the run was stopped and begun again",
        (
            stack("first", "t1_vibe_tra_dyn", measured("103000", 2, 60.0), **GRADIENT_ECHO),
            stack("second", "t1_vibe_tra_dyn", measured("104000", 6, 60.0), **GRADIENT_ECHO),
        ),
        problem=Problem.REPEATED_RUN,
    )


def _stopped() -> Layout:
    first = stack("first", "t1_vibe_tra_dyn", measured("103000", 3, 60.0), **GRADIENT_ECHO)
    return Layout(
        "The run was stopped within its third phase and begun again",
        (
            without(first, 5),
            stack("second", "t1_vibe_tra_dyn", measured("104000", 6, 60.0), **GRADIENT_ECHO),
        ),
        problem=Problem.UNCLEAR_PARTS,
        left_out={"first": LeftOut.UNCLEAR},
    )


def _xa(title: str, **counted: str) -> Layout:
    """XA: an Enhanced object for each time point; `counted` is what each of them counts anew."""
    frames: list[Tags] = [
        {
            "TemporalPositionIndex": str(n),
            "AcquisitionNumber": str(n),
            "AcquisitionTime": at,
            **counted,
        }
        for n, at in enumerate(times("103000", 20, 45.0), 1)
    ]
    made = stack("dyn", "t1_vibe_tra_dyn", frames, slices=4, **GRADIENT_ECHO)
    numbers = {n: str(n) for n in range(20)}
    images = [tags | {"InstanceNumber": numbers[at // 4]} for at, tags in enumerate(made.images)]
    told = "TemporalPositionIndex" if not counted else "AcquisitionTime"
    values = [frame[told] for frame in frames]
    return Layout(
        f"Siemens XA, an Enhanced object for each of 20 time points, {title}",
        (Series("dyn", made.tags, tuple(images), multi_frame=True, objects=20),),
        phases=tuple(("dyn", told, values[n]) for n in (0, 1, 2, 19)),
        seconds=(0.0, 45.0, 90.0, 855.0),
    )


LAYOUTS = (
    _xa("counted through"),
    _xa("counted anew in each", TemporalPositionIndex="1", AcquisitionNumber="1"),
    _per_phase(),
    _one_series(),
    _twist(),
    _twist_and_vibe(),
    _dixon(),
    _past_midnight(),
    _repeated(),
    _stopped(),
)
