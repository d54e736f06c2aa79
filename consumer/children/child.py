"""A persistent child process that can be killed without harming the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from consumer.children import work
from consumer.children.process import Process
from consumer.children.wire import NoAnswer
from consumer.errors import LabError, LabStopping, OutOfMemory, WorkerCrashed
from consumer.sandbox.confinement import Confinement
from consumer.settings import child_environment
from consumer.stop_conditions import CHECK_SECONDS, StopConditions

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds that a fresh child may take before it begins a call: it loads its libraries first.
_BEGIN_SECONDS = 180.0


class _TooSlow(Exception):
    """The call took longer than it may, and its process was killed."""


#: How a child is held of which nobody says otherwise.
_TIGHTLY = Confinement(sockets=False)


class Child:
    """One spawned process that runs one call at a time; a killed one is replaced."""

    def __init__(
        self,
        name: str,
        *,
        on_timeout: Callable[[float], LabError],
        on_slow_again: Callable[[float], LabError] | None = None,
        on_exhausted: Callable[[], LabError] | None = None,
        is_spoilt: Callable[[LabError], bool] = lambda _: False,
        prepare: Callable[[], None] = work.nothing,
        guard: Callable[..., Any] = work.plainly,
        how: Confinement = _TIGHTLY,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        #: Called in the process with each function and its arguments, and before the first one.
        self._guard, self._prepare = guard, prepare
        self._how = how
        self._environment = child_environment() if environment is None else environment
        self._on_timeout = on_timeout
        #: What it means that a fresh process was too slow as well, where it is asked at once.
        self._on_slow_again = on_slow_again
        #: What it means that a fresh process finds no memory, where it has a limit of its own.
        self._on_exhausted = on_exhausted
        #: Whether a process that raised this is to be used no more.
        self._is_spoilt = is_spoilt
        #: Calls that the process was given.
        self._calls = 0
        self._stopped = False
        self._turn = Lock()
        self._process_lock = Lock()
        self._process: Process | None = None

    def call(
        self,
        timeout: float,
        stop_conditions: StopConditions,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` in the child and return what it returns; callers take turns.

        Raises what the function raises, with the child killed if `is_spoilt` says so; what the
        `stop_conditions` raise, with the child killed if it worked for this call and not touched if
        another's call has the turn; the error of `on_timeout` after `timeout` seconds, with the
        child killed, or, where there is `on_slow_again`, that one after a fresh process took as
        long; `WorkerCrashed` when the child died; the error of `on_exhausted` when a fresh process
        found no memory, or else `OutOfMemory`; `LabStopping` after `stop`.
        """
        with self._my_turn(stop_conditions):
            try:
                return self._in_time(timeout, stop_conditions, function, *args, **kwargs)
            except LabError as error:
                if self._is_spoilt(error):
                    self._kill()
                raise
            except MemoryError:
                first = self._calls == 1
                # What is left of it may hold anything, and too much of it.
                self._kill()
            if self._on_exhausted is None:
                raise OutOfMemory(f"the {self.name} process found no more memory")
            if not first:
                # Earlier calls may have held it; a fresh process shows.
                try:
                    return self._in_time(timeout, stop_conditions, function, *args, **kwargs)
                except MemoryError:
                    self._kill()
            raise self._on_exhausted()

    def _in_time(
        self,
        timeout: float,
        stop_conditions: StopConditions,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call once, and once more in a fresh process where that shows what slowness means."""
        try:
            return self._once(timeout, stop_conditions, function, *args, **kwargs)
        except _TooSlow:
            if self._on_slow_again is None:
                raise self._on_timeout(timeout) from None
        try:
            return self._once(timeout, stop_conditions, function, *args, **kwargs)
        except _TooSlow:
            raise self._on_slow_again(timeout) from None

    def _once(
        self,
        timeout: float,
        stop_conditions: StopConditions,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        # By the clock that nobody sets: one that is set two hours on would end every inference.
        latest = time.monotonic() + _BEGIN_SECONDS
        try:
            process = self._running()
            process.ask(function, args, kwargs)
            self._calls += 1
        except OSError as exc:
            # Also when `stop` came between the process and the call.
            self._kill()
            raise self._lost(
                f"the {self.name} process could not be started", stop_conditions
            ) from exc
        try:
            self._wait(process, latest, timeout, stop_conditions)
            result: T = process.answer()
        except NoAnswer as exc:
            self._kill()
            raise self._lost(f"the {self.name} process gave {exc}", stop_conditions) from None
        return result

    def _wait(
        self, process: Process, latest: float, timeout: float, stop_conditions: StopConditions
    ) -> None:
        """Return when the answer is there; `latest` is when the call must have begun."""
        began = False
        try:
            while not process.look(CHECK_SECONDS):
                self._check(stop_conditions)
                if process.began and not began:
                    # A fresh process has loaded its libraries, and that is no part of the call.
                    began, latest = True, time.monotonic() + timeout
                _require(time.monotonic() <= latest)
        except EOFError:
            # How it ended is known once all that came of it is gone.
            self._kill()
            why = f"the {self.name} process ended with code {process.exit_code}"
            raise self._lost(why, stop_conditions) from None
        except BaseException:
            # Nobody has the next turn before it is gone.
            self._kill()
            raise

    def stop(self) -> None:
        """Kill the child, for good: a call that waits for it, and any later one, is refused."""
        self._stopped = True
        self._kill()

    @contextmanager
    def _my_turn(self, stop_conditions: StopConditions) -> Iterator[None]:
        """Wait for the turn and hold it in the block; who is halted meanwhile gives it up."""
        while not self._turn.acquire(timeout=CHECK_SECONDS):
            self._check(stop_conditions)
        try:
            self._check(stop_conditions)
            yield
        finally:
            self._turn.release()

    def _check(self, stop_conditions: StopConditions) -> None:
        if self._stopped:
            raise LabStopping("the lab is stopping")
        stop_conditions.check()

    def _lost(self, why: str, stop_conditions: StopConditions) -> WorkerCrashed:
        """Return the crash that the loss of the child is, unless it was we who ended it.

        Then this raises what ended it: `LabStopping`, or what `stop_conditions` raises.
        """
        self._check(stop_conditions)
        return WorkerCrashed(why)

    def _running(self) -> Process:
        with self._process_lock:
            if self._stopped:
                raise LabStopping("the lab is stopping")
            if self._process is not None and not self._process.alive:
                # It died while it was idle.
                self._process.end()
                self._process = None
            if self._process is None:
                begin = (self._guard, self._prepare)
                self._process = Process(self.name, self._how, self._environment, begin)
                self._calls = 0
            return self._process

    def _kill(self) -> None:
        """End the process and all that came of it; the next call starts another."""
        with self._process_lock:
            if self._process is not None:
                self._process.end()
                self._process = None


def _require(in_time: bool) -> None:
    if not in_time:
        raise _TooSlow
