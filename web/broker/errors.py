"""What can be wrong between the site and the broker. Each means: pause, connect anew.

BrokerProblem
├── BrokerLost        the connection or a channel ended
└── TopologyMissing   the broker lacks something that only its operator can put there
DatabaseAway          the database cannot be used now; hold what is in hand, try again
"""

from __future__ import annotations


class BrokerProblem(Exception):
    """Base. The text names no password."""


class BrokerLost(BrokerProblem):
    """The connection, a channel or a consumer ended."""


class TopologyMissing(BrokerProblem):
    """A queue, an exchange or a permission is missing; the text names the command that helps."""
