"""One way out of the outbox, and whether it takes messages now.

A way is what leads to one queue: the requests of a pool's readers, those of its rules, its cancels.
What one of them cannot take waits for itself: a lab can fill the queues of its own pool, and must
not hold up another's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from messages.topology import REQUESTS, RULES, requests_queue, rules_queue
from web.broker.connection import pause

log = structlog.get_logger(__name__)

#: Messages of one destination in flight at once. RabbitMQ lets a channel to a queue that answers
#: nothing take 200 before it stops reading the connection, and with it everybody's messages.
BATCH = 50

#: Seconds without a confirm after which a destination gets no more messages. It takes a millisecond
#: unless the broker is in alarm.
CONFIRM_SECONDS = 10.0

#: So long is a confirm waited for before the messages are sent once more, on another channel;
#: doubled each time. A queue that has lost its majority confirms what it was sent once it is back:
#: what is sent again too early is there twice.
SILENT_SECONDS = 60.0

#: How often that time is doubled at the most: a quarter of an hour.
MOST_DOUBLINGS = 4

#: The longest pause before a trial, in seconds. One message on a channel of its own costs little,
#: and readers of that pool wait for it.
LONGEST_TRIAL_PAUSE = 10.0

#: Seconds without a refusal after which it is said that a destination takes messages again. A full
#: queue of which a lab takes one now and then refuses and takes in turn.
QUIET_SECONDS = 10.0


def destination_of(exchange: str, routing_key: str) -> str:
    """Where a message leads: the name of its queue, or of its pool's exchange of cancels."""
    if exchange != REQUESTS:
        return exchange
    first, _, rest = routing_key.partition(".")
    if first == RULES:
        return rules_queue(rest.partition(".")[0])
    return requests_queue(first)


@dataclass
class Destination:
    """What a relay knows of one destination. Times are those of the loop's clock."""

    name: str
    #: How many may be in flight: one after trouble, and one more with each confirm.
    width: int = BATCH
    #: Rows that are leased and not marked yet.
    flying: set[int] = field(default_factory=set)
    #: Of these, the ones that the broker has not answered.
    unanswered: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    #: Rows that it has not taken, and that are still leased.
    returned: list[int] = field(default_factory=list)
    #: Whether older rows may wait in the outbox: the last look took as many as there was room for.
    backlog: bool = True
    #: Whether it gets nothing but a trial.
    held: bool = False
    #: Refusals and silences in a row.
    failures: int = 0
    #: When it is tried again.
    again_at: float = 0.0
    #: When it last answered, or was first asked after that.
    heard_at: float = 0.0
    #: Since when there is trouble of which the log tells, and when there last was.
    trouble_since: float | None = None
    trouble_at: float = 0.0

    def room(self, now: float) -> int:
        """How many rows may be sent now. After trouble one, as a trial."""
        if not self.held:
            return max(0, self.width - len(self.flying))
        return int(now >= self.again_at and not self.unanswered)

    def sent(self, row_id: int, task: asyncio.Task[None], now: float) -> None:
        """A row is on its way."""
        if not self.unanswered:
            self.heard_at = now
        self.flying.add(row_id)
        self.unanswered[row_id] = task

    def confirmed(self, row_id: int, now: float) -> None:
        """The broker has it."""
        self.width = min(BATCH, self.width + 1)
        self._answered(row_id, now)

    def refused(self, row_id: int, now: float, why: str) -> None:
        """The broker has not taken it."""
        self.drop(row_id)
        self.returned.append(row_id)
        self.hold(now, why)
        self._answered(row_id, now)

    def drop(self, row_id: int) -> None:
        """Wait no longer for the answer to one."""
        self.unanswered.pop(row_id, None)
        self.flying.discard(row_id)

    def hold(self, now: float, why: str) -> None:
        """Send no more for now. Said once, until it takes messages again."""
        self.held, self.width, self.trouble_at = True, 1, now
        self.backlog = True
        if self.trouble_since is None:
            self.trouble_since = now
            log.warning("publish_held", destination=self.name, reason=why)

    def owes(self, now: float) -> float:
        """For how many seconds it owes an answer."""
        return now - self.heard_at if self.unanswered else 0.0

    @property
    def time_budget(self) -> float:
        """Seconds after which what it owes is sent once more."""
        return SILENT_SECONDS * 2.0 ** min(self.failures, MOST_DOUBLINGS)

    def give_up(self, now: float) -> None:
        """Wait no longer for what it owes: the broker may have it or not."""
        for row_id, task in list(self.unanswered.items()):
            task.cancel()
            self.drop(row_id)
            self.returned.append(row_id)
        self.hold(now, "unconfirmed")
        self._try_later(now)

    def connection_ended(self) -> None:
        """What was in flight ended with its connection, and is free."""
        self.flying.clear()
        self.unanswered.clear()
        self.returned.clear()
        self.backlog = True
        # Perhaps it is another broker.
        self.again_at = 0.0

    def look(self, now: float) -> None:
        """Say that the trouble is over, once it is."""
        if self.trouble_since is None or self.held or now - self.trouble_at < QUIET_SECONDS:
            return
        log.warning(
            "publish_resumed",
            destination=self.name,
            held_s=round(self.trouble_at - self.trouble_since, 1),
        )
        self.trouble_since = None

    def _answered(self, row_id: int, now: float) -> None:
        self.unanswered.pop(row_id, None)
        self.heard_at = now
        if not self.held or self.unanswered:
            return
        # The last of those that were sent together. Some were taken before others were refused.
        if self.returned:
            self._try_later(now)
        else:
            self.held, self.failures = False, 0

    def _try_later(self, now: float) -> None:
        self.width = 1
        self.failures += 1
        self.again_at = now + min(pause(self.failures), LONGEST_TRIAL_PAUSE)
