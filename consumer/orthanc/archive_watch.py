"""Whether the archive is away or has failed in passing; jobs wait for one that is away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import Condition, Event, Thread

import structlog

from consumer.errors import ArchiveUnavailable, LabStopping
from consumer.stop_conditions import CHECK_SECONDS, StopConditions

log = structlog.get_logger(__name__)

#: Seconds between two probes of an archive that is away: the first and the longest pause.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0

#: Seconds that `stop` waits for a probe under way; its thread ends with the process otherwise.
_STOP_SECONDS = 1.0


class ArchiveWatch:
    """One thread that probes: once at its start, when a job asks, and while the archive is away.

    `probe` returns when the archive answers and raises `ArchiveUnavailable` when it does not. All
    else may be called from any thread. `ending` is set once the lab has to stop or to drain.
    """

    def __init__(self, probe: Callable[[], None], *, ending: Event | None = None) -> None:
        self._probe = probe
        self._ending = ending or Event()
        #: Guards what follows; notified at each change.
        self._changed = Condition()
        self._away = False
        self._stopped = False
        #: Number of the newest question, and of the newest one that a probe has answered.
        self._asked = 1
        self._answered = 0
        #: Probes that failed.
        self._failed = 0
        self._thread = Thread(target=self._run, name="archive-watch", daemon=True)

    @property
    def away(self) -> bool:
        """Whether the archive did not answer its last probe: take no more work then."""
        return self._away

    def start(self) -> None:
        """Begin, with a first probe."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Whoever waits here gets `LabStopping`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def wait_if_away(self, stop_conditions: StopConditions) -> bool:
        """Probe, and return True once an archive that was away answers again.

        False when it answers at once: then the fault that the caller met was a passing one.
        Raises what `stop_conditions` raise, and `LabStopping` after `stop` or in a lab that ends.
        """
        with self._changed:
            before = self._failed
            was_away = self._away
            self._asked += 1
            mine = self._asked
            self._changed.notify_all()
            while self._answered < mine or self._away:
                stop_conditions.check()
                # Neither the grace of a stop nor the patience of a drain is for this: nothing is
                # under way, nobody knows when the archive is back, and another lab may reach it.
                if self._stopped or (self._away and self._ending.is_set()):
                    raise LabStopping("the lab is stopping")
                self._changed.wait(CHECK_SECONDS)
            return was_away or self._failed > before

    def _run(self) -> None:
        pause = FIRST_PAUSE
        since = 0.0
        while self._wait_for_question(pause):
            asked = self._asked
            fault = self._fault()
            if fault is None:
                pause = FIRST_PAUSE
                if self._away:
                    log.info(
                        "archive back",
                        action="archive.back",
                        away_s=round(time.monotonic() - since, 1),
                    )
            elif self._away:
                pause = min(LONGEST_PAUSE, 2 * pause)
            else:
                since = time.monotonic()
                log.warning("archive away", action="archive.away", detail=fault)
            with self._changed:
                self._answered = asked
                self._away = fault is not None
                self._failed += self._away
                self._changed.notify_all()

    def _wait_for_question(self, pause: float) -> bool:
        """Return True when it is time to probe, False when the watch has ended."""
        with self._changed:
            if self._away:
                # Jittered: the labs of a pool would else find the archive again all at once. The
                # questions of further jobs do not hurry it.
                seconds = random.uniform(0.5, 1.0) * pause  # noqa: S311 - pacing, no secret
                self._changed.wait_for(lambda: self._stopped, seconds)
            else:
                self._changed.wait_for(lambda: self._stopped or self._asked > self._answered)
            return not self._stopped

    def _fault(self) -> str | None:
        try:
            self._probe()
        except ArchiveUnavailable as error:
            return error.detail
        except Exception:
            # A fault of ours: nobody may wait for ever because of it.
            log.exception("the probe ended in a fault of the lab", action="archive.fault")
        return None
