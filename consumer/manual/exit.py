"""How a run by hand ends: by Ctrl-C or by itself, with an exit status and a sentence."""

from __future__ import annotations

import signal
from enum import IntEnum
from threading import Event
from types import FrameType, TracebackType
from typing import Any, Self

from consumer.bundle import BundleInvalid
from consumer.errors import LabError, LabStopping, RequestCancelled, Retry
from consumer.manual.options import CannotInfer
from consumer.settings import SettingsInvalid

#: Ctrl-C, and what a supervisor or ``kill`` sends.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was stopped before its work began. No library takes this for an error of its own."""


class Interrupts:
    """Handles the signals in its ``with`` block, in the main thread.

    At first each raises `Interrupted`. After `cancel_on_signal` the first one is a cancel: it ends
    the run unless the result is being stored, which is finished; the second ends it at once.
    """

    def __init__(self) -> None:
        #: The first signal.
        self.cancelled = Event()
        #: The second one.
        self.stopping = Event()
        #: Number of the last one; 0 before.
        self.number = 0
        self._cancels = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def status(self) -> int:
        """The exit status of a process that a signal ended, as a shell counts it."""
        return 128 + (self.number or signal.SIGINT)

    def cancel_on_signal(self) -> None:
        """From now on somebody looks at the two events, or all is done but tidying up."""
        self._cancels = True

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        if self.cancelled.is_set():
            # The run ends already; what it ends with must not be cut short.
            self.stopping.set()
            return
        self.cancelled.set()
        if not self._cancels:
            raise Interrupted


class ExitStatus(IntEnum):
    """Exit statuses; 128 + n is the signal n that ended it."""

    #: The result is there.
    DONE = 0
    #: A fault of the program.
    FAULT = 1
    #: An option, a setting or the folder of models cannot be used; also what the parser says.
    USAGE = 2
    #: These series, or this model: another run would end the same way.
    REFUSED = 3
    #: Archive, memory, time: another run may end well.
    PASSING = 4


#: What can end a run by hand.
ENDS = (
    SettingsInvalid,
    BundleInvalid,
    CannotInfer,
    LabError,
    LabStopping,
    RequestCancelled,
    Interrupted,
)


def end_of(error: BaseException, interrupts: Interrupts) -> tuple[int, str]:
    """The exit status of one of `ENDS`, and its sentence."""
    if isinstance(error, LabError):
        status = ExitStatus.PASSING if isinstance(error, Retry) else ExitStatus.REFUSED
        return status, f"{error.code}: {error}"
    if isinstance(error, LabStopping):
        return interrupts.status, (
            "cancelled: stopped at once; what had been uploaded by then is in the archive"
        )
    if isinstance(error, RequestCancelled | Interrupted):
        return interrupts.status, "cancelled: stopped before anything was stored"
    if isinstance(error, BundleInvalid):
        return ExitStatus.USAGE, f"model: {error}"
    kind = "settings" if isinstance(error, SettingsInvalid) else "usage"
    return ExitStatus.USAGE, f"{kind}: {error}"
