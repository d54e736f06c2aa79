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
from threading import Lock
from typing import ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from consumer.errors import LabError, LabStopping, OutOfMemory, WorkerCrashed
from consumer.halt import LOOK_SECONDS, Halt

P = ParamSpec("P")
T = TypeVar("T")

#: prctl(2): the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1

#: Seconds that a fresh child may take before it begins a call: it loads its libraries first.
_BEGIN_SECONDS = 180.0


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
    if prepare is not None:
        prepare()


class Child:
    """One spawned process that runs one call at a time; a killed one is replaced."""

    def __init__(
        self,
        name: str,
        *,
        on_timeout: Callable[[float], LabError],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._prepare = prepare
        self._on_timeout = on_timeout
        self._stopped = False
        self._turn = Lock()
        self._pool_lock = Lock()
        self._pool: ProcessPool | None = None
        # The kernel takes the *thread* that started a process for its parent: a child begun by a
        # job's thread would die with that. This one lives as long as the lab.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-starter")

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

        Raises what the function raises; what `halt` raises, with the child killed if it worked for
        this call and not touched if another's call has the turn; the error of `on_timeout` after
        `timeout` seconds, with the child killed; `WorkerCrashed` when the child died;
        `OutOfMemory` when it found none; `LabStopping` after `stop`.
        """
        with self._my_turn(halt):
            try:
                future = self._running_pool().submit(function, timeout, *args, **kwargs)
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
            except MemoryError:
                raise OutOfMemory(f"the {self.name} process found no more memory") from None
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
                self._pool = pool
            return self._pool

    def _result(self, future: Future[T], timeout: float, halt: Halt) -> T:
        # pebble counts its timeout from the moment at which the child takes the call: a child
        # that hangs before that has this one.
        latest = time.monotonic() + _BEGIN_SECONDS + timeout
        try:
            while not wait([future], timeout=LOOK_SECONDS).done:
                self._check(halt)
                if time.monotonic() > latest:
                    raise self._on_timeout(timeout)
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
            raise self._on_timeout(timeout) from None

    def _kill(self) -> None:
        """End the process; the next call starts another."""
        with self._pool_lock:
            if self._pool is not None:
                self._pool.stop()
                self._pool.join()
                self._pool = None
