"""What is known of a series and of its phases, without patient data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from messages.phases.flaws import Flaw
from messages.phases.parts import Unclear


@dataclass(frozen=True)
class GridFacts:
    """Where the voxels of a phase lie: enough to see that two phases do not match."""

    rows: int
    columns: int
    #: Number of positions.
    slices: int
    #: Six direction cosines: along a row, then along a column (PS3.3 C.7.6.2.1.1).
    orientation: tuple[float, ...]
    #: mm between rows, between columns.
    pixel_spacing: tuple[float, float]
    #: Positions (LPS, mm) of the two outermost slices, in either order.
    first: tuple[float, float, float]
    last: tuple[float, float, float]
    frame_of_reference_uid: str


@dataclass(frozen=True)
class PhaseFacts:
    """One phase: a series, or a part of one."""

    #: What tells it apart inside its series; both empty when it is the whole series.
    keyword: str = ""
    value: str = ""
    #: Seconds from the midnight before the study, or None: an examination may go on past the next
    #: midnight.
    acquired_at_s: float | None = None
    #: Instances, or frames of a multi-frame instance.
    image_count: int = 0
    #: None where it is not known, or where the images lie on no common grid.
    grid: GridFacts | None = None
    #: The same time by AcquisitionDate and AcquisitionTime as they stand, or None without a date:
    #: what a lab compares. The other one may be concluded from a count, or lack its day.
    dated_at_s: float | None = None
    #: Why its images are no volume, by the first of them; None where nothing says so.
    flaw: Flaw | None = None


@dataclass(frozen=True)
class SeriesFacts:
    """What the archive says of a series."""

    series_id: str
    modality: str
    description: str
    instance_count: int
    image_type: tuple[str, ...] = ()
    #: In the order of their values; empty for a series that is no MR or `unclear`.
    phases: tuple[PhaseFacts, ...] = ()
    #: Why its phases cannot be told apart.
    unclear: Unclear | None = None
    #: Images in all its phases; differs from the instances where those are multi-frame. 0: as many
    #: as instances.
    image_count: int = 0
    #: Attributes of the scan by keyword, where known: see `messages.phases.kind.SCAN_KEYWORDS`.
    scan: Mapping[str, str] = field(default_factory=dict)
    #: The first flaw among its phases, or that of an image where it is `unclear`.
    flaw: Flaw | None = None
