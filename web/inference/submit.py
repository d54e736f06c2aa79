"""A click becomes a request and its outbox row, in one transaction, or a refusal.

A click for what is asked for already becomes that request: of the same one is active at a
time, whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from messages.lab import ModelDescriptor
from messages.request import InferenceRequested
from web.access.audit import Action
from web.access.caller import Caller
from web.inference.fingerprint import active_request, fingerprint_of
from web.inference.history import note_beginning
from web.inference.idempotency import NamedClick
from web.inference.models import InferenceRequest
from web.inference.outbox import enqueue_request
from web.inference.states import Hold
from web.labs.catalogue import model_on_offer
from web.orthanc.archive import Orthanc, archive
from web.phases.choice import check_selections, from_archive, no_study
from web.phases.chosen import Selection
from web.refusals import NotAsked

#: How often a click is tried again that met the same one: that may end in this very moment, and
#: the next be made by somebody else. What still fails then has another reason.
_TURNS = 4


def submit(
    *,
    study_id: str,
    inputs: Sequence[Selection],
    user: User | None,
    model: str | None = None,
    threshold: float | None = None,
    pool: str | None = None,
    click: NamedClick | None = None,
    retry_of: InferenceRequest | None = None,
    caller: Caller | None = None,
    orthanc: Orthanc | None = None,
) -> InferenceRequest:
    """Write the request down and return it; it is published after the commit.

    Where images of a chosen series are still arriving, once they are there
    (`web.reconciler.arriving`), unless the settings say otherwise.

    Without `pool` the settings choose it. While a request for the same is active, that one is
    returned and nothing is published. A `click` of a key that was used before for the same is its
    request of that time. What a `caller` asks for is noted in the audit trail; a study that they
    do not see is not there. Raises `NotAsked` for wrong input, also phases that do not belong
    together, and `NotNow` when the archive cannot be asked.
    """
    if caller is not None and not caller.scope.sees(study_id):
        raise no_study()
    # Before the archive is asked: what was taken once is told also while that is down.
    if click is not None and (earlier := click.earlier()):
        return earlier
    pool = pool or settings.SITE.pool
    chosen = _model(model, pool)
    check_selections(chosen, study_id, inputs, threshold)
    waits = settings.SITE.wait_for_whole_series
    found = from_archive(orthanc or archive(), chosen, study_id, inputs, waits=waits)
    message = InferenceRequested(
        request_id=uuid4(),
        attempt=1,
        pool=pool,
        model=chosen.name,
        study_uid=found.study_uid,
        inputs=found.inputs,
        threshold=threshold,
        deadline_s=settings.SITE.request_deadline_seconds,
    )
    row = InferenceRequest(
        id=message.request_id,
        pool=message.pool,
        model=message.model,
        study_id=study_id,
        study_uid=message.study_uid,
        inputs=message.model_dump(mode="json", exclude_none=True)["inputs"],
        threshold=message.threshold,
        deadline_s=message.deadline_s,
        requested_by=user,
        retry_of=retry_of,
        wish=fingerprint_of(message, study_id),
        held_for=Hold.SERIES_ARRIVING if waits and found.arriving else "",
    )
    return _one_request(row, click, caller)


def _one_request(
    new: InferenceRequest, click: NamedClick | None, caller: Caller | None
) -> InferenceRequest:
    """The new request, or the one that is the same already."""
    for _turn in range(_TURNS):
        try:
            return _taken(new, click, caller)
        except IntegrityError:
            # All of this turn is undone. The same click came twice and the other one was first,
            # or somebody asked for the same in this moment: the next turn finds theirs.
            if click is not None and (earlier := click.earlier()):
                return earlier
    return _taken(new, click, caller)


def _taken(
    new: InferenceRequest, click: NamedClick | None, caller: Caller | None
) -> InferenceRequest:
    """All that a click leaves behind, in one transaction.

    Raises `IntegrityError` when another transaction has taken the wish or the key meanwhile. The
    look before the write only spares that: two clicks at once may both find nothing.
    """
    with transaction.atomic():
        row = active_request(new.wish) or _written(new)
        if caller is not None:
            caller.note(Action.REQUESTED, study_id=row.study_id, subject=str(row.pk))
        if click is not None:
            click.keep(row)
    return row


def _written(new: InferenceRequest) -> InferenceRequest:
    new.save(force_insert=True)
    note_beginning(new)
    enqueue_request(new, held=bool(new.held_for))
    return new


def _model(name: str | None, pool: str) -> ModelDescriptor:
    chosen = model_on_offer(name, pool)
    if chosen is None:
        raise NotAsked("unknown_model", _("No lab offers this model."))
    return chosen
