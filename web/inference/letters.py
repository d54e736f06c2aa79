"""What staff can do about a dead letter: send it again, or put it aside. Each letter once."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messages.codec import decode
from messages.envelope import Message
from messages.errors import ContractError, UndecodableMessage
from messages.events import RunEvent
from messages.request import InferenceRequested
from web.access.audit import Action
from web.access.caller import Caller
from web.inference.again import send_again
from web.inference.models import DeadLetter, InferenceRequest
from web.inference.record import record_event
from web.inference.senders import Doubt, ReceivedEvent, Senders
from web.inference.states import State
from web.inference.superseded import with_superseded
from web.notify import notify_on_commit

log = structlog.get_logger(__name__)

#: What of `DeadLetter.settled_as` each deed is.
REPLAYED, DISCARDED = "replayed", "discarded"


#: Why an event was not applied, for staff.
_DOUBTS = {
    Doubt.UNSIGNED: gettext_lazy(
        "Nobody knows who has sent this: say which lab has spoken, if you are sure."
    ),
    Doubt.ANOTHER_LAB: gettext_lazy("It names another lab than the one that has sent it."),
    Doubt.UNCONFIRMED: gettext_lazy(
        "Its lab is not confirmed: mri-web lab add. It is applied by itself then."
    ),
    Doubt.ANOTHER_POOL: gettext_lazy("Its lab belongs to another pool than its request."),
    Doubt.NO_SUCH_ATTEMPT: gettext_lazy("It tells of an attempt that was never sent."),
    Doubt.NOT_APPLIED: gettext_lazy(
        "It was tried a few times, and each time something failed here: see the log."
    ),
    Doubt.NEWER: gettext_lazy("A newer version of this site will read it, and applies it then."),
    Doubt.NOT_FROM_ITS_POOL: gettext_lazy(
        "It lay where no request of its pool can: a lab of another pool has written it."
    ),
    Doubt.UNKNOWN_REQUEST: gettext_lazy(
        "Its lab is not confirmed, and this site has no such request."
    ),
    Doubt.NOT_KEPT: gettext_lazy(
        "It could not be stored, so only its sender, size and digest were kept: see the log."
    ),
}


def doubt_text(reason: str) -> str:
    """What the reason of a letter says, as a sentence; empty for the broker's own reasons."""
    return str(_DOUBTS[Doubt(reason)]) if reason in set(Doubt) else ""


class LeftAsItIs(Exception):
    """Nothing was done about the letter, for a reason that staff can read."""

    def __init__(self, sentence: str | Promise) -> None:
        super().__init__("the dead letter was left as it is")
        self.sentence = sentence


def message_of(letter: DeadLetter) -> Message:
    """The message of a letter; raises `ContractError`, which quotes nothing of the body.

    It can be read now though it could not when it died: the sender may have been the newer one.
    """
    body = bytes(letter.body)
    if letter.size > len(body):
        raise UndecodableMessage(f"only {len(body)} of {letter.size} bytes were kept")
    return decode(body, type_=letter.type, content_type=letter.content_type or None)


def replay(letter_id: int, caller: Caller, lab: str = "") -> str:
    """Do what the letter was to bring about; returns what has happened, as a sentence.

    The request of a request's letter goes out under its next attempt, and keeps its history; it
    must be `dead`. A lab's event is applied once more, which helps when a fault of ours is mended;
    by the same rules as when it came. `lab` is who has spoken, for letters of which the broker has
    not said it. Raises `LeftAsItIs`; nothing has changed then.
    """
    try:
        with transaction.atomic():
            letter = _settled(letter_id, REPLAYED, caller)
            done = _replayed(letter, lab.strip())
            _note(letter, Action.REPLAYED, caller)
    except IntegrityError:
        sentence = gettext_lazy("Another request for the same is active; this one stays dead.")
        raise LeftAsItIs(sentence) from None
    log.info("dead_letter_replayed", letter=letter.pk, request_id=_id(letter.request_id))
    return done


def discard(letter_id: int, caller: Caller) -> str:
    """Put the letter aside; returns what that means for its request, as a sentence.

    The row stays, and so does its request as it is. Raises `LeftAsItIs`.
    """
    with transaction.atomic():
        letter = _settled(letter_id, DISCARDED, caller)
        _note(letter, Action.DISCARDED, caller)
        about = letter.request
    log.info("dead_letter_discarded", letter=letter.pk, request_id=_id(letter.request_id))
    if about is not None and about.state == State.DEAD:
        return _("Discarded. Request %(id)s stays dead.") % {"id": about.pk}
    return _("Discarded.")


def _settled(letter_id: int, deed: str, caller: Caller) -> DeadLetter:
    """The letter, marked by compare-and-swap: whoever comes second finds it settled."""
    marked = DeadLetter.objects.filter(pk=letter_id, settled_at=None).update(
        settled_at=timezone.now(), settled_as=deed, settled_by=caller.user
    )
    letter = DeadLetter.objects.select_related("request").filter(pk=letter_id).first()
    if letter is None:
        raise LeftAsItIs(gettext_lazy("There is no such dead letter."))
    if not marked:
        raise LeftAsItIs(gettext_lazy("This dead letter has been dealt with already."))
    return letter


def _replayed(letter: DeadLetter, lab: str) -> str:
    try:
        message = message_of(letter)
    except ContractError:
        sentence = gettext_lazy("This letter cannot be read; it can only be discarded.")
        raise LeftAsItIs(sentence) from None
    if isinstance(message, InferenceRequested):
        return _sent_again(message.request_id)
    if isinstance(message, RunEvent):
        return _applied(letter, message, lab)
    sentence = gettext_lazy("A message of this type is of no use any more; it can be discarded.")
    raise LeftAsItIs(sentence)


def _sent_again(request_id: UUID) -> str:
    state = _state(request_id)
    if not send_again(request_id, by_staff=True):
        sentence = _("The request is not dead but %(state)s; only a dead one is sent again.")
        raise LeftAsItIs(sentence % {"state": state.value})
    notify_on_commit(request_id)
    row = InferenceRequest.objects.get(pk=request_id)
    sentence = _("Request %(id)s goes out again, as attempt %(attempt)d.")
    return sentence % {"id": row.pk, "attempt": row.attempt}


def _applied(letter: DeadLetter, event: RunEvent, lab: str) -> str:
    _state(event.request_id)
    # What the broker has checked is not for anybody to say otherwise.
    received = ReceivedEvent(event, letter.user_id or lab, letter.received_at)
    doubt = Senders([received]).doubt_about(received)
    if doubt is not None:
        raise LeftAsItIs(doubt_text(doubt) or doubt)
    if not record_event(received.as_received):
        return _("The event changed nothing: it was known, or has come too late.")
    for request_id in with_superseded([event.request_id]):
        notify_on_commit(request_id)
    state = _state(event.request_id)
    return _("The event was applied: request %(id)s is now %(state)s.") % {
        "id": event.request_id,
        "state": state.value,
    }


def _state(request_id: UUID) -> State:
    row = InferenceRequest.objects.filter(pk=request_id).first()
    if row is None:
        raise LeftAsItIs(gettext_lazy("The request of this letter does not exist here."))
    return State(row.state)


def _note(letter: DeadLetter, action: Action, caller: Caller) -> None:
    about = letter.request
    subject = f"dead letter {letter.pk}" if about is None else str(about.pk)
    caller.note(action, study_id="" if about is None else about.study_id, subject=subject)


def _id(request_id: UUID | None) -> str | None:
    return None if request_id is None else str(request_id)
