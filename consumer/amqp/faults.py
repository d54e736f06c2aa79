"""Faults of the lab itself, counted until there are too many."""

from __future__ import annotations

from consumer.amqp.errors import LabBroken

#: Faults of the lab without a success between them, after which it stops: a supervisor starts it
#: anew, and an engineer sees it. The queue's delivery limit is 20.
MAX_FAULTS = 5


class Faults:
    """How many jobs in a row ended in one."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def success(self) -> None:
        """A job ended as it should."""
        self._in_a_row = 0

    def another(self) -> None:
        """A job ended in a fault. Raises `LabBroken` when it is one too many."""
        self._in_a_row += 1
        if self._in_a_row >= MAX_FAULTS:
            raise LabBroken(
                f"{self._in_a_row} jobs in a row ended in a fault of this lab; its log has them "
                "under the action job.fault"
            )
