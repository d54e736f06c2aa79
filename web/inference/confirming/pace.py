"""How long the confirmer waits between its looks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Every waiting time of the confirmer, in seconds. Tests take shorter ones."""

    #: Between the looks of an archive that answers without the result: one more look than there
    #: are pauses, all within a minute. A lab has read back what it reports; the pauses are for an
    #: archive that is being restored or copied.
    pauses_s: tuple[float, ...] = (10.0, 30.0)

    #: Between two looks into the table when nothing wakes this: for what is due again, and for what
    #: another process wrote down and could not do.
    poll_s: float = 3.0

    #: Until what the archive did not answer is asked again: growing, for each request.
    waits_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0)

    #: Between two questions to an archive, or a database, that seems to be away.
    away_s: float = 2.0

    #: Until what met a fault of ours is tried again.
    fault_s: float = 15.0
