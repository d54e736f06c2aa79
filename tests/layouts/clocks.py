"""Runs whose times say nothing, or something else than their count."""

from __future__ import annotations

from messages.phases import LeftOut, Problem
from tests.layouts.philips import FFE
from tests.layouts.tags import Layout, Tags, stack, times


def counted(count: int, **more: str) -> list[Tags]:
    """Phases that are counted and share one acquisition time."""
    return [
        {"TemporalPositionIdentifier": str(n), "AcquisitionTime": "101500", **more}
        for n in range(1, count + 1)
    ]


def _content_in_disorder() -> Layout:
    # The console reconstructs the phases when it has time for them.
    phases = [
        {**tags, "ContentTime": at}
        for tags, at in zip(
            counted(5), ("103200", "103300", "103000", "103400", "103100"), strict=True
        )
    ]
    return Layout(
        "One acquisition time, reconstructed in another order than acquired",
        (stack("dyn", "dyn_eTHRIVE", phases, **FFE),),
        phases=tuple(("dyn", "TemporalPositionIdentifier", n) for n in "1235"),
        seconds=(None, None, None, None),
    )


def _content_in_order() -> Layout:
    phases = [
        {**tags, "ContentTime": at}
        for tags, at in zip(counted(5), times("101700", 5, 61.0), strict=True)
    ]
    return Layout(
        "One acquisition time, reconstructed one after the other",
        (stack("dyn", "dyn_eTHRIVE", phases, **FFE),),
        phases=tuple(("dyn", "TemporalPositionIdentifier", n) for n in "1235"),
        seconds=(0.0, 61.0, 122.0, 244.0),
    )


def _count_against_times() -> Layout:
    phases = [
        {**tags, "AcquisitionTime": at}
        for tags, at in zip(counted(5), list(times("101500", 5, 60.0))[::-1], strict=True)
    ]
    return Layout(
        "Counted in another order than acquired",
        (stack("dyn", "dyn_eTHRIVE", phases, **FFE),),
        problem=Problem.COUNT_DISAGREES,
    )


def _fast(name: str, **tags: str) -> Layout:
    return Layout(
        name,
        (stack("dyn", "4D-TRAK", counted(int(tags.pop("count"))), **{**FFE, **tags}),),
        problem=Problem.TOO_CLOSE,
    )


def _slow() -> Layout:
    phases = counted(12)
    return Layout(
        "Twelve phases without times, one a minute by their temporal resolution",
        (stack("dyn", "dyn_eTHRIVE", phases, TemporalResolution="60000", **FFE),),
        phases=tuple(("dyn", "TemporalPositionIdentifier", n) for n in ("1", "2", "3", "12")),
        seconds=(None, None, None, None),
    )


def _reconstructed_past_midnight() -> Layout:
    # No AcquisitionDate; ContentDate is the day of the reconstruction.
    clock = list(times("235500", 5, 60.0))
    content = list(times("235700", 5, 60.0))
    phases = [
        stack(
            f"ph{n}",
            f"Ph{n + 1}/Ax VIBRANT",
            [
                {
                    "AcquisitionTime": at,
                    "ContentTime": made,
                    "ContentDate": "20260302" if made > "12" else "20260303",
                }
            ],
            AcquisitionDate="",
        )
        for n, (at, made) in enumerate(zip(clock, content, strict=True))
    ]
    return Layout(
        "Acquired before midnight and reconstructed after it, without an acquisition date",
        tuple(phases),
        phases=tuple((f"ph{n}", "", "") for n in (0, 1, 2, 4)),
        seconds=(0.0, 60.0, 120.0, 240.0),
        left_out={"ph3": LeftOut.BETWEEN},
    )


LAYOUTS = (
    _content_in_disorder(),
    _content_in_order(),
    _count_against_times(),
    _fast("Ultrafast, 40 time points with one acquisition time", count="40"),
    _fast(
        "Ultrafast, of which six are left, by its resolution", count="6", TemporalResolution="4200"
    ),
    _fast(
        "Ultrafast, of which six are left, by their number",
        count="6",
        NumberOfTemporalPositions="40",
    ),
    _slow(),
    _reconstructed_past_midnight(),
)
