"""Cancel in every state, on the real database: what is written down, and what a caller is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from messages.codec import decode
from messages.control import CancelRequested
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceFailed,
    InferenceRetryScheduled,
)
from messages.failures import FailureCode
from tests.integration.test_web_api import error_of
from tests.integration.web_requests import a_run, place, take_in, write_request
from tests.site import reader_of
from web.access.audit import Action
from web.access.models import AuditEntry
from web.access.tokens import issue
from web.broker import leases
from web.inference.again import send_again
from web.inference.models import InferenceRequest, Outbox
from web.inference.record import record
from web.inference.states import State
from web.inference.triggers import CancelSettled, DeadLettered

REQUESTS = "/api/v1/requests"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def reader() -> Client:
    client = Client()
    client.force_login(reader_of())
    return client


def cancel(client: Client, row: InferenceRequest, **headers: str) -> Any:
    return client.post(f"{REQUESTS}/{row.pk}/cancel", headers=headers)


def told(*events: Any) -> None:
    for event in events:
        with transaction.atomic():
            take_in(event)


def stops(row: InferenceRequest) -> list[Outbox]:
    """The messages to the labs that the request is to be stopped, sent or not."""
    return list(Outbox.objects.filter(request=row, type=CancelRequested.wire_type()))


def relayed() -> None:
    """A relay takes what there is, and the broker confirms it."""
    rows = leases.take(uuid4(), 100)
    leases.mark_sent([leases.Sent(row.pk, timezone.now()) for row in rows])


def unsent(row: InferenceRequest) -> None:
    """As it was written down."""


def leased(row: InferenceRequest) -> None:
    assert leases.take(uuid4(), 1)


def given_back(row: InferenceRequest) -> None:
    lease = uuid4()
    assert leases.take(lease, 1)
    leases.give_back(lease)


def published(row: InferenceRequest) -> None:
    relayed()


def sent_again(row: InferenceRequest) -> None:
    relayed()
    assert send_again(row.pk)


def in_stage(number: int) -> Callable[[InferenceRequest], None]:
    """With so many events of its run applied."""

    def bring(row: InferenceRequest) -> None:
        relayed()
        told(*a_run(row.pk)[:number])

    return bring


def waiting(row: InferenceRequest) -> None:
    relayed()
    code, at = FailureCode.ARCHIVE_UNAVAILABLE, datetime.now(UTC) + timedelta(minutes=2)
    told(InferenceRetryScheduled(**place(row.pk, 1), code=code, next_at=at))


def failed(row: InferenceRequest) -> None:
    relayed()
    code = FailureCode.GEOMETRY_MISMATCH
    told(InferenceFailed(**place(row.pk, 1), code=code, detail="", stage_seconds={}))


def dead(row: InferenceRequest) -> None:
    relayed()
    with transaction.atomic():
        record(row.pk, DeadLettered(attempt=1, at=timezone.now()))


#: Where a request can be when a lab may have it, or may get it.
RUNNING: dict[str, tuple[Callable[[InferenceRequest], None], State]] = {
    "leased by a relay": (leased, State.QUEUED),
    "leased once and given back": (given_back, State.QUEUED),
    "sent again": (sent_again, State.QUEUED),
    "published": (published, State.PUBLISHED),
    "accepted": (in_stage(1), State.ACCEPTED),
    "downloading": (in_stage(2), State.DOWNLOADING),
    "inferring": (in_stage(3), State.INFERRING),
    "uploading": (in_stage(4), State.UPLOADING),
    "waiting in a tier": (waiting, State.WAITING),
}

ENDED: dict[str, tuple[Callable[[InferenceRequest], None], State, str]] = {
    "completed": (in_stage(5), State.COMPLETED, "too_late"),
    "failed": (failed, State.FAILED, "not_running"),
    "dead": (dead, State.DEAD, "not_running"),
}


def test_a_request_that_no_relay_has_had_is_cancelled_at_once_and_leaves_no_message(
    reader: Client,
) -> None:
    row = write_request()
    answer = cancel(reader, row)

    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["version"]) == ("cancelled", 2)
    assert answer.json() == reader.get(f"{REQUESTS}/{row.pk}").json()
    assert not Outbox.objects.exists()
    row.refresh_from_db()
    assert row.finished_at is not None
    # Nothing of it can be in the archive.
    assert row.sweep_due_at is None


@pytest.mark.parametrize("name", RUNNING)
def test_a_request_that_a_lab_may_have_is_being_cancelled_and_the_labs_are_told(
    name: str, reader: Client
) -> None:
    bring, state = RUNNING[name]
    row = write_request()
    bring(row)
    row.refresh_from_db()
    assert row.state == state

    answer = cancel(reader, row)

    assert answer.status_code == 202
    assert answer.json()["state"] == "cancelling"
    assert answer.json()["cancel_asked_at"]
    (stop,) = stops(row)
    assert (stop.exchange, stop.routing_key) == ("mri.control.lab", "")
    message = decode(bytes(stop.body), type_=stop.type)
    assert isinstance(message, CancelRequested)
    assert message.request_id == row.pk
    # What is not published yet never will be.
    assert list(Outbox.objects.filter(request=row, sent_at=None)) == [stop]
    history = reader.get(f"{REQUESTS}/{row.pk}/events").json()["events"]
    assert history[-1]["state"] == "cancelling"


@pytest.mark.parametrize("name", ENDED)
def test_a_request_that_has_ended_is_answered_with_409_and_stays(name: str, reader: Client) -> None:
    bring, state, code = ENDED[name]
    row = write_request()
    bring(row)
    row.refresh_from_db()
    version = row.version

    answer = cancel(reader, row)

    assert answer.status_code == 409
    error = error_of(answer)
    assert (error["code"], error["request_id"]) == (code, str(row.pk))
    assert answer.headers["Cache-Control"] == "private, no-store"
    row.refresh_from_db()
    assert (row.state, row.version, row.cancel_asked_at) == (state, version, None)
    assert not stops(row)
    assert not AuditEntry.objects.filter(action=Action.CANCELLED).exists()


def test_too_late_says_in_korean_that_the_result_is_stored(reader: Client) -> None:
    row = write_request()
    in_stage(5)(row)
    error = error_of(cancel(reader, row, accept_language="ko"))
    assert error["message"] == "너무 늦었습니다. 결과가 이미 저장되었습니다."


@pytest.mark.parametrize("bring", [unsent, published])
def test_asked_twice_is_asked_once(bring: Callable[[Any], None], reader: Client) -> None:
    row = write_request()
    bring(row)
    first, again = cancel(reader, row), cancel(reader, row)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert len(stops(row)) == (bring is published)
    assert AuditEntry.objects.filter(action=Action.CANCELLED).count() == 1


def test_the_audit_trail_says_who_stopped_which_request(reader: Client) -> None:
    row = write_request()
    cancel(reader, row)
    noted = AuditEntry.objects.get(action=Action.CANCELLED)
    assert (noted.user.get_username(), noted.way) == ("reader", "session")
    assert (noted.study_id, noted.subject) == (row.study_id, str(row.pk))


def test_a_request_that_the_caller_does_not_see_is_not_there_and_goes_on() -> None:
    row = write_request()
    stranger = Client()
    stranger.force_login(reader_of("-".join(["89abcdef"] * 5)))
    answer = cancel(stranger, row)

    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"
    row.refresh_from_db()
    assert row.state == State.QUEUED
    assert AuditEntry.objects.filter(action=Action.REFUSED, subject=str(row.pk)).exists()


def test_an_unknown_request_is_404_and_nobody_logged_in_is_401(reader: Client) -> None:
    unknown = InferenceRequest(pk=uuid4())
    assert error_of(cancel(reader, unknown))["request_id"] == str(unknown.pk)
    assert error_of(cancel(Client(), write_request()))["code"] == "unauthorized"


def test_another_sites_page_cancels_nothing(reader: Client) -> None:
    row = write_request()
    for header in ({"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}):
        answer = cancel(reader, row, **header)
        assert answer.status_code == 403
        error_of(answer)
    row.refresh_from_db()
    assert row.state == State.QUEUED


def test_a_token_cancels_and_the_trail_says_so() -> None:
    row = write_request()
    token = issue(reader_of(), "a script")
    answer = cancel(Client(), row, authorization=f"Bearer {token}")
    assert answer.status_code == 202
    assert AuditEntry.objects.get(action=Action.CANCELLED).way == "token"


def test_a_lab_that_takes_a_cancelled_request_is_told_again(reader: Client) -> None:
    row = write_request()
    published(row)
    cancel(reader, row)
    relayed()
    assert len(stops(row)) == 1
    told(a_run(row.pk)[0])
    assert len(stops(row)) == 2
    with transaction.atomic():
        record(row.pk, CancelSettled(at=timezone.now()))
    relayed()
    # A second run of a request that is over.
    told(InferenceAccepted(**place(row.pk, 0, delivery=1)))
    assert len(stops(row)) == 3


def test_the_lab_confirms_and_the_archive_must_be_looked_at(reader: Client) -> None:
    row = write_request()
    in_stage(3)(row)
    cancel(reader, row)
    told(InferenceCancelled(**place(row.pk, 4)))
    row.refresh_from_db()
    assert row.state == State.CANCELLED
    assert row.sweep_due_at is not None


def test_a_result_that_was_stored_first_wins_and_the_wish_is_kept_beside_it(
    reader: Client,
) -> None:
    row = write_request()
    in_stage(4)(row)
    cancel(reader, row)
    told(a_run(row.pk)[4])
    shown = reader.get(f"{REQUESTS}/{row.pk}").json()
    assert shown["state"] == "completed"
    assert shown["cancel_asked_at"]
    assert error_of(cancel(reader, row))["code"] == "too_late"
    row.refresh_from_db()
    assert row.sweep_due_at is None
