"""What the reconciler asks of the broker's side: `web.broker.queue_depth` answers it."""

from __future__ import annotations

from typing import Protocol


class Waiting(Protocol):
    """What waits in queues. What a consumer holds unacknowledged is in neither number."""

    @property
    def ready(self) -> int:
        """Messages that wait to be taken."""

    @property
    def consumers(self) -> int:
        """Consumers that take them."""


class BrokerView(Protocol):
    """How this process hears the labs."""

    @property
    def since(self) -> float | None:
        """Since when without a break, in seconds of the monotonic clock; None without a broker."""

    def since_of(self, pool: str) -> float | None:
        """The same of the outcomes and heartbeats of one pool; None while they cannot come."""

    async def depth(self, queues: tuple[str, ...]) -> Waiting | None:
        """What waits in these queues together; None when the broker does not say."""
