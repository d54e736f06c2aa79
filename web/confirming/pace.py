"""How long the confirmer waits between its looks."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class Pace:
    """Every waiting time of the confirmer, in seconds. Tests take shorter ones."""

    #: Between the looks of an archive that answers without the result: one more look than there
    #: are pauses, all within a minute. A lab has read back what it reports; the pauses are for an
    #: archive that is being restored or copied.
    pauses_s: tuple[float, ...] = (10.0, 30.0)

    #: The same after these looks, when the reader was told that there is none: for an upload, a
    #: copy or a restored archive that comes late. About a day in all, with six cheap questions.
    late_s: tuple[float, ...] = (
        2 * _MINUTE,
        10 * _MINUTE,
        _HOUR,
        4 * _HOUR,
        8 * _HOUR,
        12 * _HOUR,
    )

    #: So long may the archive fail at what lies under a request's UIDs, or this site at reading it,
    #: while the request's images are handed out. As long as any other decision waits for an archive
    #: (`web.reconciler.pace.Pace.archive_s`): a restart of it, a slow disk or a proxy in
    #: trouble is over by then, and a reader who waits for longer had better know.
    failing_s: float = 600.0

    #: Between two looks into the table when nothing wakes this: for what is due again, and for what
    #: another process wrote down and could not do.
    poll_s: float = 3.0

    #: Until what the archive did not answer is asked again: growing, for each request.
    waits_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0)

    #: Between two questions to an archive, or a database, that seems to be away.
    away_s: float = 2.0

    #: Until what met a fault of ours is tried again.
    fault_s: float = 15.0
