"""An ended request asked for once more: a new request, which names the one that it repeats."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from web.access.caller import Caller
from web.inference.idempotency import digest_of_retry, named_click
from web.inference.models import InferenceRequest
from web.inference.presentation import phase_of
from web.inference.states import State
from web.inference.submit import submit
from web.phases.chosen import Selection
from web.refusals import CONFLICT, NotAsked

#: Without a result, so that asking again makes sense. `dead` too: who reads need not wait for
#: staff, and its replay is the same.
REPEATABLE = frozenset({State.FAILED, State.CANCELLED, State.DEAD})


def retry(ended: InferenceRequest, caller: Caller, *, key: str | None = None) -> InferenceRequest:
    """Ask for the same again and return the new request, or the active one for the same.

    The same phases, model and threshold, the phases as the archive has them now, in the pool of
    the settings now. Raises `NotAsked` (409) for a request that has a result or has not ended,
    and what `submit` raises.
    """
    click = named_click(caller.user, key, digest_of_retry(ended.pk))
    # Before the state is looked at: staff may have replayed it since this click was taken.
    if click is not None and (earlier := click.earlier()):
        return earlier
    if ended.state == State.COMPLETED:
        raise NotAsked("completed", _("This request has a result already."), CONFLICT)
    if State(ended.state) not in REPEATABLE:
        raise NotAsked("still_running", _("This request has not ended yet."), CONFLICT)
    return submit(
        study_id=ended.study_id,
        inputs=[
            Selection(item["role"], item["series_id"], phase_of(item)) for item in ended.inputs
        ],
        user=caller.user,
        model=ended.model,
        threshold=ended.threshold,
        click=click,
        retry_of=ended,
        caller=caller,
    )
