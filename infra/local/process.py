"""One child process: its own session, a log file, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.local.private_files import private_directory
from infra.local.settings import child_environment

#: Seconds between two looks at a condition.
POLL_SECONDS = 0.05

#: How much of the log a failure quotes.
TAIL_LINES = 15


class ServiceFailed(Exception):
    """A service died or did not become ready in time; the text ends with the end of its log."""


class Service:
    """A command in a session of its own, so that Ctrl-C reaches only its owner, who stops it.

    The kernel ends it when the thread that started it dies (PDEATHSIG, set by `setpriv`): start
    services from a thread that lives as long as they should, normally the main thread. An owner
    killed in the few milliseconds before `setpriv` has acted leaves its service running.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._env = child_environment() if env is None else dict(env)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command; its output is appended to the log."""
        if self.alive:
            raise ServiceFailed(f"{self.name} runs already")
        self._reap()
        if not self.log.parent.exists():
            private_directory(self.log.parent)
        # A preexec_fn is not safe beside threads; setpriv sets the signal and then becomes the
        # command, so the pid is the command's own.
        setpriv = shutil.which("setpriv")
        guard = (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                (*guard, *self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id, also id of session and group; None when not started or already stopped."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the command itself still runs."""
        if self._process is None:
            return False
        # WNOWAIT: a dead leader stays unreaped until stop or kill, so that its id cannot pass to
        # a stranger whom we would then signal.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is None

    def stop(self, grace: float = 10.0) -> None:
        """End the whole group: SIGTERM, `grace` seconds for the command to end, then SIGKILL."""
        if self.alive:
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self.alive and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        self.kill()

    def terminate(self) -> None:
        """Ask the group to end (SIGTERM) and return; `stop` also waits."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the whole group at once; harmless when nothing runs."""
        self._signal(signal.SIGKILL)
        self._reap()

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return "(no log)"
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        """Wait for `condition`; `ServiceFailed` when it does not hold in time or we died."""
        wait_until(condition, what, timeout, service=self)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None


def wait_until(
    condition: Callable[[], bool], what: str, timeout: float, *, service: Service | None = None
) -> None:
    """Poll `condition` until it holds.

    `what` completes "<service> did not …", e.g. "answer on port 5673". Raises `ServiceFailed`
    after `timeout` seconds, or at once when `service` has died.
    """
    name = "the service" if service is None else service.name
    deadline = time.monotonic() + timeout
    while not condition():
        if service is not None and not service.alive:
            raise ServiceFailed(f"{name} ended before it could {what}:\n{service.log_tail()}")
        if time.monotonic() > deadline:
            end = "" if service is None else f":\n{service.log_tail()}"
            raise ServiceFailed(f"{name} did not {what} within {timeout:.0f} s{end}")
        time.sleep(POLL_SECONDS)
