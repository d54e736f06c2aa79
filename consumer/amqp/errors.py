"""What the rest of the lab may see of broker trouble.

BrokerError
├── BrokerUnavailable   connect again, with backoff
│   └── LabFault        the same, after a job of ours broke; too many in a row end the lab
├── MessageRefused      this one message can never be sent as it is
├── TopologyMissing     stop the start with its sentence: an operator must act
└── LabBroken           end with its sentence: nothing succeeds here any more
"""

from __future__ import annotations


class BrokerError(Exception):
    """Base of all errors of this package."""


class BrokerUnavailable(BrokerError):
    """The broker is away, or closed the connection or the channel. Connect again."""


class TopologyMissing(BrokerError):
    """A queue or exchange that must exist does not, or this user may not use it."""


class LabFault(BrokerUnavailable):
    """A job ended in a fault of the lab: without a connection the broker counts and redelivers."""


class MessageRefused(BrokerError):
    """The broker refuses this message: no right to that exchange or key, or a false user."""


class LabBroken(BrokerError):
    """One fault of ours after the other. Stop, before the whole queue is worn out on them."""
