"""A persistent child process that can be killed without harming the worker."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from threading import Lock
from typing import ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from consumer.children.limits import no_core_dump
from consumer.errors import LabError, LabStopping, OutOfMemory, WorkerCrashed
from consumer.halt import LOOK_SECONDS, Halt

P = ParamSpec("P")
T = TypeVar("T")

#: prctl(2): the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1

#: Seconds that a fresh child may take before it begins a call: it loads its libraries first.
_BEGIN_SECONDS = 180.0


class _TooSlow(Exception):
    """The call took longer than it may, and its process was killed."""


def _begin(parent_pid: int, prepare: Callable[[], None] | None) -> None:
    """Run in the child first: die with the parent, and leave the signals of its group to it.

    Without this an inference ran on for half a minute after its worker had been killed.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    # pebble's handler runs in Python, and a computation in C lets it wait for seconds; then pebble
    # kills. There is nothing to clean up here, so die at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A terminal and a supervisor signal the whole group; a job that is to end within the lab's
    # grace must not lose its children first. (systemd signals the cgroup: KillMode=mixed there.)
    os.setpgid(0, 0)
    no_core_dump()
    if prepare is not None:
        prepare()


def _leave_interrupts() -> None:
    """Run in the thread that starts children: they inherit that Ctrl-C is not theirs.

    Until `_begin` a child is in the group that a terminal signals, and its interpreter would print
    a traceback of its boot. multiprocessing unblocks the signal where it starts its tracker: first.
    """
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


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
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._prepare = prepare
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
        self._pool_lock = Lock()
        self._pool: ProcessPool | None = None
        # The kernel takes the *thread* that started a process for its parent: a child begun by a
        # job's thread would die with that. This one lives as long as the lab.
        self._starter = ThreadPoolExecutor(
            1, thread_name_prefix=f"{name}-starter", initializer=_leave_interrupts
        )

    def call(
        self,
        timeout: float,
        halt: Halt,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` in the child and return what it returns; callers take turns.

        Raises what the function raises, with the child killed if `is_spoilt` says so; what `halt`
        raises, with the child killed if it worked for this call and not touched if another's call
        has the turn; the error of `on_timeout` after `timeout` seconds, with the child killed, or,
        where there is `on_slow_again`, that one after a fresh process took as long;
        `WorkerCrashed` when the child died; the error of `on_exhausted` when a fresh process found
        no memory, or else `OutOfMemory`; `LabStopping` after `stop`.
        """
        with self._my_turn(halt):
            try:
                return self._in_time(timeout, halt, function, *args, **kwargs)
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
                # Earlier calls may have held it; a fresh process tells.
                try:
                    return self._in_time(timeout, halt, function, *args, **kwargs)
                except MemoryError:
                    self._kill()
            raise self._on_exhausted()

    def _in_time(
        self,
        timeout: float,
        halt: Halt,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call once, and once more in a fresh process where that tells what slowness means."""
        try:
            return self._once(timeout, halt, function, *args, **kwargs)
        except _TooSlow:
            if self._on_slow_again is None:
                raise self._on_timeout(timeout) from None
        try:
            return self._once(timeout, halt, function, *args, **kwargs)
        except _TooSlow:
            raise self._on_slow_again(timeout) from None

    def _once(
        self,
        timeout: float,
        halt: Halt,
        function: Callable[P, T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            future = self._running_pool().submit(function, timeout, *args, **kwargs)
            self._calls += 1
        except RuntimeError as exc:
            # Also what pebble says when `stop` came between the pool and the call.
            raise self._lost(f"the {self.name} process could not be started", halt) from exc
        try:
            result: T = self._result(future, timeout, halt)
        except ProcessExpired as exc:
            raise self._lost(
                f"the {self.name} process ended with code {exc.exitcode}", halt
            ) from None
        except BrokenProcessPool:
            raise self._lost(f"the {self.name} process ended while it was idle", halt) from None
        return result

    def stop(self) -> None:
        """Kill the child, for good: a call that waits for it, and any later one, is refused."""
        self._stopped = True
        self._kill()
        self._starter.shutdown(wait=False)

    @contextmanager
    def _my_turn(self, halt: Halt) -> Iterator[None]:
        """Wait for the turn and hold it in the block; who is halted meanwhile gives it up."""
        while not self._turn.acquire(timeout=LOOK_SECONDS):
            self._check(halt)
        try:
            self._check(halt)
            yield
        finally:
            self._turn.release()

    def _check(self, halt: Halt) -> None:
        if self._stopped:
            raise LabStopping("the lab is stopping")
        halt.check()

    def _lost(self, why: str, halt: Halt) -> WorkerCrashed:
        """Return the crash that the loss of the child is, unless it was we who ended it.

        Then this raises what ended it: `LabStopping`, or what `halt` raises.
        """
        self._check(halt)
        return WorkerCrashed(why)

    def _running_pool(self) -> ProcessPool:
        with self._pool_lock:
            if self._stopped:
                raise LabStopping("the lab is stopping")
            # A child that dies while idle breaks the pool for good: begin a new one.
            if self._pool is None or not self._pool.active:
                pool = ProcessPool(
                    max_workers=1,
                    context=multiprocessing.get_context("spawn"),
                    initializer=_begin,
                    initargs=(os.getpid(), self._prepare),
                )
                # Asked for the first time, it starts its process.
                self._starter.submit(lambda: pool.active).result()
                self._pool, self._calls = pool, 0
            return self._pool

    def _result(self, future: Future[T], timeout: float, halt: Halt) -> T:
        # pebble counts its timeout from the moment at which the child takes the call: a child
        # that hangs before that has this one.
        latest = time.monotonic() + _BEGIN_SECONDS + timeout
        try:
            while not wait([future], timeout=LOOK_SECONDS).done:
                self._check(halt)
                if time.monotonic() > latest:
                    raise _TooSlow
        finally:
            # The whole pool and not `future.cancel()`: pebble kills for that one later, from
            # another thread, and might hit the next call in the same process. Nobody has the
            # next turn before this returns.
            if not future.done():
                self._kill()
        try:
            return future.result()
        except TimeoutError:
            self._check(halt)
            raise _TooSlow from None

    def _kill(self) -> None:
        """End the process; the next call starts another."""
        with self._pool_lock:
            if self._pool is not None:
                self._pool.stop()
                self._pool.join()
                self._pool = None
