"""A persistent child process that can be killed without harming the worker."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from threading import Lock
from typing import ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from consumer.errors import LabError, WorkerCrashed

P = ParamSpec("P")
T = TypeVar("T")

#: prctl(2): the signal that a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1


def _begin(parent_pid: int, prepare: Callable[[], None] | None) -> None:
    """Run in the child first: die with the parent, and leave the signals of its group to it.

    Without this an inference ran on for half a minute after its worker had been killed.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)
    # A service manager and a terminal signal the whole group; a job that is to end within the
    # lab's grace must not lose its children first.
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
        self._lock = Lock()
        self._pool: ProcessPool | None = None

    def _running_pool(self) -> ProcessPool:
        with self._lock:
            # A child that dies while idle breaks the pool for good: begin a new one.
            if self._pool is None or not self._pool.active:
                self._pool = ProcessPool(
                    max_workers=1,
                    context=multiprocessing.get_context("spawn"),
                    initializer=_begin,
                    initargs=(os.getpid(), self._prepare),
                )
            return self._pool

    def call(
        self, timeout: float, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` in the child and return what it returns.

        Raises what the function raises; the error of `on_timeout` after `timeout` seconds, with
        the child killed; `WorkerCrashed` when the child died.
        """
        try:
            result: T = self._running_pool().submit(function, timeout, *args, **kwargs).result()
        except FutureTimeout:
            raise self._on_timeout(timeout) from None
        except ProcessExpired as exc:
            raise WorkerCrashed(f"the {self.name} process ended with code {exc.exitcode}") from None
        except (BrokenProcessPool, RuntimeError) as exc:
            raise WorkerCrashed(f"the {self.name} process could not be used") from exc
        return result

    def stop(self) -> None:
        """Kill the child and wait until it is gone."""
        with self._lock:
            if self._pool is not None:
                self._pool.stop()
                self._pool.join()
                self._pool = None
