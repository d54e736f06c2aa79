"""A reader gives a verdict on a stored result."""

from __future__ import annotations

import unicodedata
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from web.access.audit import Action
from web.access.caller import Caller
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.inference.verdict import Decision, Verdict
from web.notify import notify_on_commit
from web.refusals import CONFLICT, NotAsked

_NOTED = {
    Decision.ACCEPTED: Action.ACCEPTED,
    Decision.REJECTED: Action.REJECTED,
    Decision.COMMENTED: Action.COMMENTED,
}

#: What a text may hold beside its characters.
_BLANKS = frozenset("\n\t")


def give_verdict(
    request_id: UUID, caller: Caller, decision: Decision, text: str = "", key: str | None = None
) -> Verdict:
    """Write the verdict and its audit entry down, and tell the open pages that there is one.

    A `key` that the same user has used before for the same is the verdict of that time. Raises
    `NotAsked`: 409 without a result, 422 without the words that a rejection or a comment needs,
    or for a key that was used for another verdict. The archive is neither asked nor told.
    """
    text = _clean(text)
    if decision is not Decision.ACCEPTED and not text:
        raise NotAsked("text_missing", _without_words(decision))
    new = Verdict(
        request_id=request_id, decision=decision, text=text, by=caller.user, key=key or ""
    )
    if earlier := _earlier(new):
        return earlier
    try:
        with transaction.atomic():
            return _written(new, caller)
    except IntegrityError:
        # The same click came twice, and the other one was first.
        if earlier := _earlier(new):
            return earlier
        raise


def _written(new: Verdict, caller: Caller) -> Verdict:
    # Locked: a result that is being taken back in this moment is not judged.
    row = InferenceRequest.objects.select_for_update().get(pk=new.request_id)
    if row.state != State.COMPLETED or row.result is None:
        sentence = _("This request has no result to judge.")
        raise NotAsked("no_result", sentence, CONFLICT)
    new.save(force_insert=True)
    caller.note(_NOTED[Decision(new.decision)], study_id=row.study_id, subject=str(row.pk))
    notify_on_commit(row.pk)
    return new


def _earlier(new: Verdict) -> Verdict | None:
    """The verdict that the same key of the same user stands for."""
    if not new.key:
        return None
    found = Verdict.objects.filter(by=new.by, key=new.key).first()
    if found is None:
        return None
    if (found.request_id, found.decision, found.text) != (new.request_id, new.decision, new.text):
        sentence = _("This Idempotency-Key was used for another verdict.")
        raise NotAsked("idempotency_key_reused", sentence)
    return found


def _clean(text: str) -> str:
    """The text without control characters, which no database, page or table can use."""
    kept = (
        c for c in text.replace("\r\n", "\n") if c in _BLANKS or unicodedata.category(c) != "Cc"
    )
    return "".join(kept).strip()


def _without_words(decision: Decision) -> Promise:
    if decision is Decision.REJECTED:
        return _("Please say why the result is rejected.")
    return _("Please write the comment.")
