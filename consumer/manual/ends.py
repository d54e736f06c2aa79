"""How the command ends: an exit status by the kind of the failure, and a sentence with its code."""

from __future__ import annotations

from enum import IntEnum

from consumer.bundle import BundleInvalid
from consumer.errors import LabError, LabStopping, RequestCancelled, Retry
from consumer.manual.asked import CannotInfer
from consumer.manual.interrupts import Interrupted, Interrupts
from consumer.settings import SettingsInvalid


class Status(IntEnum):
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
        status = Status.PASSING if isinstance(error, Retry) else Status.REFUSED
        return status, f"{error.code}: {error}"
    if isinstance(error, LabStopping):
        return interrupts.status, (
            "cancelled: stopped at once; what had been uploaded by then is in the archive"
        )
    if isinstance(error, RequestCancelled | Interrupted):
        return interrupts.status, "cancelled: stopped before anything was stored"
    if isinstance(error, BundleInvalid):
        return Status.USAGE, f"model: {error}"
    kind = "settings" if isinstance(error, SettingsInvalid) else "usage"
    return Status.USAGE, f"{kind}: {error}"
