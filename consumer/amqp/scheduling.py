"""Which of the requests in flight begins next, and which run alone (quarantine). Pure.

The broker counts a delivery (``x-delivery-count``) whenever the lab that held it died. It cannot
know which of several killed it: the neighbours are counted too, and at the queue's limit of 20 all
of them become dead letters. So from a count of three on a request is quarantined and runs alone,
and which of several goes first changes with every death. One that kills its lab each time can
then not keep its neighbours from their turn until their counts are worn out.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Protocol, TypeVar
from uuid import UUID

#: Delivery count from which a request runs alone: chance alone seldom kills a lab three times.
QUARANTINED_FROM = 3


class _Request(Protocol):
    @property
    def request_id(self) -> UUID: ...

    @property
    def attempt(self) -> int: ...


class Candidate(Protocol):
    """What is looked at; `consumer.amqp.in_flight.WorkItem` in the lab."""

    @property
    def request(self) -> _Request | None:
        """Which request it is."""

    @property
    def deaths(self) -> int:
        """The broker's newest ``x-delivery-count``.

        Not how often it was given out: RabbitMQ 4.3 counts apart what came back in peace, and
        that is no reason for suspicion.
        """

    @property
    def cancelled(self) -> Event:
        """Set once its cancel has come."""


C = TypeVar("C", bound=Candidate)


def is_quarantined(candidate: Candidate) -> bool:
    """Whether it runs alone: it begins when nothing runs, and nothing begins beside it."""
    return candidate.deaths >= QUARANTINED_FROM


def choose(
    waiting: Sequence[C], running: Sequence[C], *, at_once: int, healthy: bool, closed: bool
) -> C | None:
    """Return what may begin now, or None.

    `waiting` is in the order of arrival, `at_once` the number of jobs that may run side by side.
    `healthy` is false while nothing new may be begun. `closed` is true while the lab takes no
    more: only then does one in quarantine begin, so that none arrives beside it.

    A cancelled request begins whatever else runs or is wrong, unless one in quarantine runs: all
    that it does is to say so.
    """
    if any(is_quarantined(other) for other in running):
        return None
    for candidate in waiting:
        if candidate.cancelled.is_set():
            return candidate
    if not healthy or len(running) >= at_once:
        return None
    for candidate in waiting:
        if not is_quarantined(candidate):
            return candidate
    if running or not waiting or not closed:
        return None
    return _first_quarantined(waiting)


def _first_quarantined(quarantined: Sequence[C]) -> C:
    """The next in a ring of all quarantined: one death raises every count by one and turns it on.

    Not the smallest count: whoever stands lowest would go first after every death, and those
    above it would be counted with it until they are worn out.
    """
    ring = sorted(quarantined, key=_identity)
    return ring[max(alone.deaths for alone in ring) % len(ring)]


def _identity(candidate: Candidate) -> tuple[str, int]:
    request = candidate.request
    return (str(request.request_id), request.attempt) if request else ("", 0)
