"""A study as its tags say it: series with what their images share, and what each image says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from messages.phases import LeftOut, Problem
from messages.phases.check import Fault

AXIAL = "1\\0\\0\\0\\1\\0"
SAGITTAL = "0\\1\\0\\0\\0\\-1"
STUDY_DATE = "20260302"

#: DICOM attributes by keyword, as text; several values with a backslash between them.
Tags = dict[str, str]


@dataclass(frozen=True)
class Series:
    """`tags` are those of the series and of every image; `images` are what differs between them.

    An image is an instance, or a frame of the one multi-frame instance, or of several `objects`
    that hold equally many.
    """

    series_id: str
    tags: Tags
    images: tuple[Tags, ...]
    multi_frame: bool = False
    objects: int = 1

    def in_objects(self) -> list[tuple[Tags, ...]]:
        """The frames of each multi-frame object."""
        count = len(self.images) // self.objects
        return [self.images[at : at + count] for at in range(0, len(self.images), count)]


@dataclass(frozen=True)
class Layout:
    """A study and what must come of it: the phase for each role, or the problem."""

    name: str
    series: tuple[Series, ...]
    #: (series id, keyword, value) of pre, post1, post2 and last; none with a problem.
    phases: tuple[tuple[str, str, str], ...] = ()
    problem: Problem | None = None
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    #: Seconds after the first phase, of each; None where the tags do not say it.
    seconds: tuple[float | None, ...] = ()
    #: What is said of the proposal, and does not refuse it.
    doubts: frozenset[Fault] = frozenset()


def places(
    slices: int, orientation: str = AXIAL, origin: float = -60.0, gap: float = 2.0
) -> list[str]:
    """ImagePositionPatient of a stack; `origin` is where it begins across the slices."""
    heights = [f"{origin + gap * n:.4f}" for n in range(slices)]
    if orientation == SAGITTAL:
        return [f"{x}\\-120.5000\\150.0000" for x in heights]
    return [f"-170.2500\\-165.0000\\{z}" for z in heights]


def stack(
    series_id: str,
    description: str,
    phases: Sequence[Tags],
    *,
    slices: int = 12,
    orientation: str = AXIAL,
    origin: float = -60.0,
    each: Sequence[Tags] = (),
    **tags: str,
) -> Series:
    """A series of whole stacks: `phases` is what the images of each share, `each` those of each
    slice, the same in every phase."""
    common = {
        "Modality": "MR",
        "SeriesDescription": description,
        "StudyDate": STUDY_DATE,
        "AcquisitionDate": STUDY_DATE,
        "ImageType": "ORIGINAL\\PRIMARY\\OTHER",
        "ImageOrientationPatient": orientation,
        "PixelSpacing": "0.8000\\0.8000",
        "Rows": "448",
        "Columns": "448",
        "FrameOfReferenceUID": "1.2.826.0.1.7",
    }
    return Series(
        series_id,
        {**common, **tags},
        tuple(
            {**phase, **(each[n] if each else {}), "ImagePositionPatient": place}
            for phase in phases
            for n, place in enumerate(places(slices, orientation, origin))
        ),
    )


def without(series: Series, count: int) -> Series:
    """The series without its last images: a run that was stopped."""
    return replace(series, images=series.images[:-count])


def times(first: str, count: int, step_s: float) -> Iterator[str]:
    """TM values from `first` on (HHMMSS), `step_s` apart, past midnight too."""
    start = int(first[:2]) * 3600 + int(first[2:4]) * 60 + int(first[4:6])
    for n in range(count):
        seconds = (start + step_s * n) % 86_400
        hours, rest = divmod(seconds, 3600)
        yield f"{int(hours):02d}{int(rest // 60):02d}{rest % 60:09.6f}"
