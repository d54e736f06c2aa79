"""``mri-consumer drain``: have the running lab finish what it holds and end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from consumer.liveness.presence import PresenceError, Sighting, look_for

#: What tells a lab to drain. SIGTERM would stop it within its grace.
DRAIN_SIGNAL = signal.SIGUSR1

#: Seconds between two looks at the lab.
_LOOK_SECONDS = 0.5

#: Seconds after which the same is said again, so that nobody takes the wait for a hang.
_REPEAT_SECONDS = 60.0


class DrainFailed(Exception):
    """One sentence for an operator."""


def drain(directory: Path, lab: str, *, say: Callable[[str], None]) -> None:
    """Tell the lab, wait until it has ended, and `say` a line whenever less is in hand.

    Raises `DrainFailed` when there is no such lab, when it may not be told, or when it ended
    before it was done.
    """
    seen = _look(directory, lab)
    if seen is None or seen.pid is None:
        raise DrainFailed(f"No lab named {lab} runs on this machine, as far as {directory} says.")
    pid = seen.pid
    try:
        os.kill(pid, DRAIN_SIGNAL)
    except ProcessLookupError:
        raise DrainFailed(f"The lab {lab} has just ended.") from None
    except PermissionError:
        raise DrainFailed(
            f"The lab {lab} (process {pid}) may only be drained by its own user or root."
        ) from None
    told, again = -1, 0.0
    while seen is not None and seen.pid == pid:
        if seen.in_hand != told or time.monotonic() >= again:
            told, again = seen.in_hand, time.monotonic() + _REPEAT_SECONDS
            say(f"{lab} takes no more; in hand: {told}")
        time.sleep(_LOOK_SECONDS)
        seen = _look(directory, lab)
    if seen is not None and seen.pid is not None:
        raise DrainFailed(f"The lab {lab} has ended, and another one was started.")
    if seen is not None and seen.in_hand:
        raise DrainFailed(
            f"The lab {lab} ended with {seen.in_hand} in hand; the broker gives that out again."
        )
    say(f"{lab} has ended")


def _look(directory: Path, lab: str) -> Sighting | None:
    try:
        return look_for(directory, lab)
    except PresenceError as error:
        raise DrainFailed(str(error)) from error
