"""What a lab is believed about the attempt of a request."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.utils import timezone

from messages.events import InferenceAccepted
from tests.unit.test_reconcile_rules import row
from web.inference.models import InferenceRequest
from web.inference.senders import MOST_AHEAD, MOST_RAISED, Doubt, ReceivedEvent, Senders
from web.inference.states import State
from web.labs.models import Lab

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def its_lab() -> None:
    now = timezone.now()
    known = {"device": "cpu", "models": [], "current": [], "confirmed_at": now, "last_seen": now}
    Lab.objects.update_or_create(name="lab1", defaults={"pool": "lab", **known})


def accepted(request_id: UUID, attempt: int) -> ReceivedEvent:
    event = InferenceAccepted(
        request_id=request_id,
        attempt=attempt,
        delivery=0,
        sequence=0,
        lab="lab1",
        at=timezone.now(),
    )
    return ReceivedEvent(event, "lab1", timezone.now())


def doubt(*heard: ReceivedEvent) -> list[Doubt | None]:
    speakers = Senders(heard)
    return [speakers.doubt_about(one) for one in heard]


def test_the_attempt_of_the_row_is_believed_however_high_it_has_become() -> None:
    pk = row(State.PUBLISHED, attempt=1001).pk
    assert doubt(accepted(pk, 1001), accepted(pk, 1), accepted(pk, 1002)) == [None] * 3


def test_no_event_moves_a_request_to_an_attempt_that_nobody_can_have_sent() -> None:
    pk = row(State.PUBLISHED).pk
    assert doubt(accepted(pk, 1 + MOST_AHEAD)) == [None]
    assert doubt(accepted(pk, 2 + MOST_AHEAD)) == [Doubt.NO_SUCH_ATTEMPT]
    assert doubt(accepted(pk, 1000)) == [Doubt.NO_SUCH_ATTEMPT]


def test_labs_leave_the_site_numbers_for_what_it_sends_again() -> None:
    pk = row(State.PUBLISHED, attempt=MOST_RAISED).pk
    told = [accepted(pk, MOST_RAISED), accepted(pk, MOST_RAISED + 1)]
    assert doubt(*told) == [None, Doubt.NO_SUCH_ATTEMPT]


def test_attempts_that_come_in_one_batch_are_believed_as_if_they_came_singly() -> None:
    pk = row(State.PUBLISHED).pk
    told = [accepted(pk, attempt) for attempt in range(1, 3 * MOST_AHEAD)]
    assert doubt(*told) == [None] * len(told)


def test_of_a_request_that_is_not_there_no_attempt_is_followed() -> None:
    pk = row(State.PUBLISHED).pk
    InferenceRequest.objects.filter(pk=pk).delete()
    assert doubt(accepted(pk, 1), accepted(pk, 1000)) == [None, Doubt.NO_SUCH_ATTEMPT]
