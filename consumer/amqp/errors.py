"""What the rest of the lab may see of broker trouble.

BrokerError
├── BrokerUnavailable   connect again, with backoff
└── TopologyMissing     stop the start with its sentence: an operator must act
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of all errors of this package."""


class BrokerUnavailable(BrokerError):
    """The broker is away, or closed the connection or the channel. Connect again."""


class TopologyMissing(BrokerError):
    """A queue or exchange that must exist does not, or this user may not use it."""


class PublisherStopped(BrokerError):
    """The lab is stopping. Leave the delivery unacknowledged: the broker gives it out again."""
