"""What the site owes the world after something has happened to a request. Pure."""

from __future__ import annotations

from enum import StrEnum

from messages.events import InferenceAccepted, InferenceCompleted, RunEvent
from web.inference.states import Snapshot, State
from web.inference.triggers import CancelAsked, DeadLettered, TimedOut, Trigger


class Effect(StrEnum):
    """What the site owes the world after something has happened."""

    #: Tell the labs to stop this request.
    STOP_LAB = "stop_lab"
    #: See that the archive holds nothing of it, and go on until that is so.
    SWEEP = "sweep"
    #: Look for the result that a lab has reported, and tell what is found.
    CONFIRM = "confirm"


def effects_of(before: Snapshot, after: Snapshot, what: Trigger) -> frozenset[Effect]:
    """Return what is to be done about `what`, whether or not it changed the row.

    `before` and `after` are the row then and now; alike when nothing changed. An event that was
    seen already can have effects: the second run of a cancelled request stores its result under
    the same identity, and tells so in the same words.
    """
    effects: set[Effect] = set()
    entered = before.state is not after.state and not _taken_back(what)
    swept = after.state is State.CANCELLED or after.misfiled
    if swept and (entered or isinstance(what, RunEvent | DeadLettered)):
        # Also when the lab says that it stored nothing: an earlier run that died may have. A dead
        # letter tells of such runs too, and is the last word of them.
        effects.add(Effect.SWEEP)
    decided_here = entered and isinstance(what, CancelAsked | TimedOut)
    if after.unwanted and (decided_here or isinstance(what, InferenceAccepted)):
        effects.add(Effect.STOP_LAB)
    if isinstance(what, InferenceCompleted) and after.can_complete:
        effects.add(Effect.CONFIRM)
    return frozenset(effects)


def _taken_back(what: Trigger) -> bool:
    return isinstance(what, CancelAsked) and what.unsent
