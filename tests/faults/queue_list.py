"""The queues of a broker as rabbitmqctl lists them."""

from __future__ import annotations

import time
from typing import Any

from messages import topology

#: Seconds between an answer of rabbitmqctl and the next question: each takes a second of a
#: processor, and the counts change every 5 s.
_PACE = 1.0


class QueueList:
    """Asks rabbitmqctl, once a second at most; who asks sooner waits, and gets a fresh answer."""

    def __init__(self, node: Any) -> None:
        """`node` is a `RabbitNode` or a `RabbitCluster`: what has `ctl`."""
        self._node = node
        self._answered = 0.0

    def listed(self, *columns: str) -> dict[str, list[str]]:
        """These columns by queue, as text; raises `ServiceFailed`.

        A queue that does not answer has fewer.
        """
        time.sleep(max(0.0, self._answered + _PACE - time.monotonic()))
        try:
            rows = self._node.ctl("-q", "-p", topology.VHOST, "list_queues", "name", *columns)
        finally:
            self._answered = time.monotonic()
        cells = [row.split() for row in rows.splitlines()]
        return {name: values for name, *values in filter(None, cells)}

    def counts(self) -> dict[str, tuple[int, int]]:
        """(messages, of them unacknowledged) by queue, of those that answer."""
        found = {}
        for name, values in self.listed("messages", "messages_unacknowledged").items():
            if len(values) == 2 and all(value.isdecimal() for value in values):
                found[name] = (int(values[0]), int(values[1]))
        return found


def unrest(counts: dict[str, tuple[int, int]]) -> list[str]:
    """What keeps the queues from being empty: a line for each; none means that all are at rest.

    A queue without a count may hold anything. Those of hints, and of cancels for a process that is
    not there, may hold what they like: it expires.
    """
    silent = [f"{q.name} does not answer" for q in topology.queues() if q.name not in counts]
    return silent + [
        f"{name} holds {messages} messages, {unacknowledged} of them unacknowledged"
        for name, (messages, unacknowledged) in counts.items()
        if messages and not expires(name)
    ]


def expires(queue: str) -> bool:
    """Whether what lies in this queue is of use for a short time only."""
    return queue.startswith(("mri.progress.", "mri.control."))
