"""One turn of the follower: a bounded number of calls to the archive. Synchronous.

What was stored is told by the archive's changes; what was deleted is found by asking for what is
known; what was there before, by a walk through all studies.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from threading import Event

import structlog
from django.utils import timezone

from web.follower import changes, index, results, walk
from web.follower.models import ArchivePlace
from web.orthanc.archive import Orthanc, archive
from web.orthanc.errors import ArchiveError

log = structlog.get_logger(__name__)

#: Seconds after which a step of a turn reads no further page and compares no further result:
#: another process may wait for the lease.
TURN_SECONDS = 5.0


@dataclass(frozen=True)
class Pace:
    """How much is looked at, and how often. Tests take shorter times."""

    #: Seconds between two turns when there is nothing to read on.
    turn_s: float = 2.0
    #: Between two turns while the archive is away: doubled up to this.
    longest_s: float = 60.0
    #: A process is the follower for so long after it last said so.
    lease_s: float = 30.0
    compare_again_s: float = results.AGAIN_SECONDS
    look_again_s: float = walk.LOOK_AGAIN_SECONDS
    results: int = results.RESULTS
    series: int = walk.SERIES


@dataclass
class Turn:
    """What a turn has done, for the log and for how soon the next one comes."""

    #: Set when the process stops.
    stopping: Event
    changed_results: int = 0
    #: Whether there is more of the log or of a walk to read at once.
    more: bool = False
    #: Whether a walk went on.
    walks: bool = False
    began: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Whether a step is to come to its end, for the next one."""
        return self.stopping.is_set() or time.monotonic() - self.began > TURN_SECONDS


def take_turn(pace: Pace, orthanc: Orthanc | None = None, stopping: Event | None = None) -> Turn:
    """Read on, compare, walk, sweep. Raises `ArchiveError`; what was done by then stays.

    Not inside a transaction. Killed at any point it is taken up again where it was: the place is
    written after what was read up to there, and everything else may be done twice. A step that the
    archive does not answer keeps none of the others from its turn, nor does one that took long.
    """
    source = orthanc or archive("follower")
    turn = Turn(stopping or Event())
    # Where this is not answered, the archive as a whole is away.
    place = _place(source)
    steps = (_read, partial(_compare, pace), _walk, partial(_sweep, pace))
    unanswered: list[ArchiveError] = []
    for step in steps:
        if turn.stopping.is_set():
            break
        try:
            step(place, source, turn)
        except ArchiveError as exc:
            unanswered.append(exc)
    if unanswered:
        raise unanswered[0]
    return turn


def _place(orthanc: Orthanc) -> ArchivePlace:
    place = ArchivePlace.objects.filter(pk=changes.ARCHIVE).first()
    if place is None:
        place = changes.first_place(orthanc)
        _begin_walk(place, "first look at the archive")
        return place
    known = changes.recognised(place, orthanc)
    if known.other is not None:
        place.seq, place.anchor = changes.first_place(orthanc).seq, {}
        _begin_walk(place, f"the log of changes {known.other}")
    elif dict(known.anchor) != place.anchor:
        place.anchor = dict(known.anchor)
        place.save(update_fields=["anchor"])
    if walk.is_due(place):
        _begin_walk(place, "a day is over")
    return place


def _begin_walk(place: ArchivePlace, why: str) -> None:
    place.walked, place.walk_began_at, place.walk_ended_at = 0, timezone.now(), None
    place.save()
    log.info("archive_walk_begins", why=why)


def _read(place: ArchivePlace, orthanc: Orthanc, turn: Turn) -> None:
    turn.more = True
    # At least one page, whatever the time.
    while turn.more:
        news = changes.read_on(place, orthanc)
        if news.series or news.instances:
            entered = index.enter(news.series, news.instances, orthanc)
            results.mark(entered.studies, entered.series)
        if news.seq != place.seq or dict(news.anchor) != place.anchor:
            place.seq, place.anchor = news.seq, dict(news.anchor)
            place.save(update_fields=["seq", "anchor"])
        turn.more = news.more
        if turn.is_over():
            break


def _compare(pace: Pace, _place: ArchivePlace, orthanc: Orthanc, turn: Turn) -> None:
    turn.changed_results = results.compare_due(
        orthanc, pace.results, pace.compare_again_s, turn.is_over, turn.stopping.is_set
    )


def _sweep(pace: Pace, place: ArchivePlace, orthanc: Orthanc, turn: Turn) -> None:
    # A walk sees the same; one that the archive does not answer is not waited for.
    if place.walked is None or not turn.walks:
        results.mark(walk.sweep(orthanc, pace.series, pace.look_again_s))


def _walk(place: ArchivePlace, orthanc: Orthanc, turn: Turn) -> None:
    if place.walked is None:
        return
    place.walked = walk.walk_on(place, orthanc)
    turn.walks = True
    if place.walked is None:
        place.walk_ended_at = timezone.now()
        log.info("archive_walk_ends")
    else:
        turn.more = True
    place.save(update_fields=["walked", "walk_ended_at"])
