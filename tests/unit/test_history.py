"""A history that a lab cannot make longer without end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.utils import timezone
from structlog.testing import capture_logs

from tests.unit.test_reconcile_rules import row
from web.inference.history import MOST_KEPT, note_change
from web.inference.models import InferenceRequest, RequestEvent
from web.inference.record import snapshot
from web.inference.states import State

pytestmark = pytest.mark.django_db


def runs(one: InferenceRequest, count: int) -> None:
    """So many further runs of which a lab tells."""
    for _ in range(count):
        before = snapshot(one)
        one.version, one.delivery = one.version + 1, one.delivery + 1
        note_change(one, before, snapshot(one), timezone.now())


@pytest.mark.parametrize("state", [State.ACCEPTED, State.CANCELLING])
def test_a_lab_that_tells_of_ever_newer_runs_fills_no_table_and_the_end_is_still_kept(
    state: State,
) -> None:
    one = row(state)
    with capture_logs() as logs:
        runs(one, MOST_KEPT + 20)
    assert RequestEvent.objects.filter(request=one).count() == MOST_KEPT
    assert [line["event"] for line in logs] == ["history_full"]
    before = snapshot(one)
    one.version, one.state = one.version + 1, State.FAILED
    note_change(one, before, replace(before, state=State.FAILED), timezone.now())
    last = RequestEvent.objects.filter(request=one).last()
    assert last is not None
    assert (last.state, last.version) == (State.FAILED, one.version)
