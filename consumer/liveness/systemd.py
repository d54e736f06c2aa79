"""What the lab notifies systemd of: ready, alive, stopping. Without systemd, nothing."""

from __future__ import annotations

import time
import warnings

from sdnotify import SystemdNotifier

from messages import lab

#: Seconds between two signs of life; the unit's WatchdogSec is many times longer, because one
#: round of connecting to brokers that do not answer takes its time as well.
WATCHDOG_SECONDS = 5.0

#: What `systemctl status` shows of a connected lab, by its condition.
_DOING = {
    lab.SERVING: "taking requests",
    lab.ARCHIVE_AWAY: "waiting for the archive",
    lab.DRAINING: "draining: finishing what is in hand",
}


class Supervisor:
    """Called on each turn of the main loop: when that loop hangs, systemd starts the lab anew."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # Where there is no NOTIFY_SOCKET the library drops an open socket and says so.
            warnings.simplefilter("ignore", ResourceWarning)
            self._notifier = SystemdNotifier()
        self._next = 0.0
        self._state = ""
        self._ready = False
        self._stopping = False

    def turn(self, *, connected: bool, condition: str) -> None:
        """Say READY once the broker answers, what the lab does, and from time to time ALIVE."""
        if connected and not self._ready:
            self._ready = True
            self._notifier.notify("READY=1")
        state = _DOING.get(condition, condition) if connected else "waiting for the broker"
        if state != self._state and not self._stopping:
            self._state = state
            self._notifier.notify(f"STATUS={state}")
        now = time.monotonic()
        if now >= self._next:
            self._next = now + WATCHDOG_SECONDS
            self._notifier.notify("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the stop began: what runs may still end. Safe in a signal handler."""
        self._stopping = True
        self._notifier.notify("STOPPING=1\nSTATUS=finishing what is in hand")
