"""What the site tells systemd: ready, alive, stopping. Without systemd it tells nobody."""

from __future__ import annotations

import asyncio
import warnings

from django.conf import settings
from sdnotify import SystemdNotifier

#: Seconds between two signs of life; the unit's WatchdogSec is many times longer.
WATCHDOG_SECONDS = 5.0

#: Seconds between two looks whether the port is open. The server opens it after the lifespan's
#: start, so ready is what answers and not what was told to start.
LOOK_SECONDS = 0.1


async def watchdog() -> None:
    """Run beside the site until cancelled: while the event loop turns, the site is alive."""
    notifier = _notifier()
    if notifier.socket is None:
        # Nobody listens; and a host project's port may be another, that never opens.
        return
    try:
        await _port_open(settings.SITE.web_port)
        notifier.notify("READY=1\nSTATUS=serving")
        while True:
            notifier.notify("WATCHDOG=1")
            await asyncio.sleep(WATCHDOG_SECONDS)
    finally:
        notifier.notify("STOPPING=1")
        notifier.socket.close()


def _notifier() -> SystemdNotifier:
    with warnings.catch_warnings():
        # Where there is no NOTIFY_SOCKET the library drops an open socket and says so.
        warnings.simplefilter("ignore", ResourceWarning)
        return SystemdNotifier()


async def _port_open(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(LOOK_SECONDS)
        else:
            writer.close()
            return
