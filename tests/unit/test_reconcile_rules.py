"""Which requests the reconciler takes for lost, late or unheld, and which it leaves alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from messages.topology import REQUESTS, rules_queue
from web.inference.again import send_again
from web.inference.models import InferenceRequest, Outbox, RequestEvent, SiteLease
from web.inference.outbox import enqueue_on_commit, enqueue_request, message_of
from web.inference.states import State
from web.labs.models import Lab
from web.reconciler import archived, lost, overdue, site_lease, unclaimed
from web.reconciler.lost import Missing
from web.reconciler.pace import Pace

pytestmark = pytest.mark.django_db

PACE = Pace()
ID = "-".join(["0123abcd"] * 5)
INPUTS = [{"role": "image", "series_id": ID, "series_uid": "1.2.3.4", "instance_count": 3}]


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def row(state: State, *, age: float = 600, **columns: Any) -> InferenceRequest:
    """A request of which nothing was heard for so many seconds."""
    made = InferenceRequest.objects.create(
        pool="lab",
        model="m",
        study_id=ID,
        study_uid="1.2.3",
        inputs=INPUTS,
        deadline_s=3600,
        state=state,
        changed_at=ago(age),
        **columns,
    )
    InferenceRequest.objects.filter(pk=made.pk).update(created_at=ago(age))
    return made


def lab(
    *current: UUID, silent: float = 0, pool: str = "lab", confirmed_at: Any = timezone.now
) -> None:
    Lab.objects.create(
        confirmed_at=confirmed_at and confirmed_at(),
        name=f"lab-{uuid4().hex[:8]}",
        pool=pool,
        device="cpu",
        models=[],
        current=[str(one) for one in current],
        last_seen=ago(silent),
    )


def missing(*pools: str) -> set[UUID]:
    """Of pools in whose queues nothing waits."""
    return {one.request_id for one in lost.missing(PACE, dict.fromkeys(pools or ("lab",)))}


def sent(request: InferenceRequest, times: int = 1) -> None:
    """The site has sent it so often."""
    for _ in range(times):
        with transaction.atomic():
            enqueue_request(request)
    Outbox.objects.update(sent_at=timezone.now())


@pytest.mark.parametrize(
    ("state", "looks_lost"),
    [
        (State.QUEUED, False),
        (State.PUBLISHED, True),
        (State.ACCEPTED, True),
        (State.DOWNLOADING, True),
        (State.INFERRING, True),
        (State.UPLOADING, True),
        (State.WAITING, True),
        (State.CANCELLING, False),
        (State.CANCELLED, False),
        (State.COMPLETED, False),
        (State.FAILED, False),
        (State.DEAD, False),
    ],
)
def test_what_is_on_its_way_and_silent_looks_lost_while_its_queues_are_empty(state, looks_lost):
    one = row(state)
    assert missing() == ({one.pk} if looks_lost else set())
    assert missing("server") == set()
    assert lost.pools_to_ask(PACE) == (["lab"] if looks_lost else [])


def test_what_was_heard_of_lately_is_not_lost():
    row(State.INFERRING, age=PACE.lost_s - 20)
    assert missing() == set()


def test_what_a_lab_listed_is_not_lost_until_the_broker_must_have_taken_it_from_that_lab():
    listed_now, listed_before, listed_long_ago = (row(State.INFERRING) for _ in range(3))
    lab(listed_now.pk)
    lab(listed_before.pk, silent=PACE.gone_s - 20)
    lab(listed_long_ago.pk, silent=PACE.gone_s + 20)
    assert missing() == {listed_long_ago.pk}


def test_what_waits_in_the_outbox_is_not_lost():
    one = row(State.ACCEPTED)
    with transaction.atomic():
        enqueue_request(one)
    assert missing() == set()
    Outbox.objects.update(sent_at=timezone.now())
    assert missing() == {one.pk}


def test_what_waits_in_a_tier_is_not_lost_before_its_next_try():
    row(State.WAITING, next_try_at=ago(-60))
    due = row(State.WAITING, next_try_at=ago(60))
    assert missing() == {due.pk}


def test_nothing_is_written_that_would_wait_in_a_queue_that_is_not_asked_for_lost_requests():
    request = row(State.QUEUED)
    message = message_of(request).model_copy(update={"by_rule": True})
    assert rules_queue(request.pool) not in lost.queues_of(request.pool)
    with transaction.atomic(), pytest.raises(RuntimeError, match=r"queues_of in web\.reconciler"):
        enqueue_on_commit(
            request, message, exchange=REQUESTS, routing_key=message.routing_key, held=True
        )
    assert not Outbox.objects.exists()


def test_every_sending_doubles_the_patience_up_to_a_bound():
    early = row(State.PUBLISHED, age=PACE.lost_s * 3)
    later = row(State.PUBLISHED, age=PACE.lost_s * 4 + 20)
    last = row(State.PUBLISHED, age=PACE.lost_s * 32 + 20)
    for one, times in ((early, 3), (later, 3), (last, 60)):
        sent(one, times)
    assert missing() == {later.pk, last.pk}


def test_an_attempt_that_a_lab_has_raised_adds_no_patience():
    one = row(State.ACCEPTED, age=PACE.lost_s + 20, attempt=60, sequence=0)
    sent(one)
    assert missing() == {one.pk}


def test_what_is_lost_is_sent_again_once_and_its_history_says_so():
    one = row(State.INFERRING, accepted_at=ago(600), delivery=2, sequence=4, lab="lab1")
    (found,) = lost.missing(PACE, {"lab": None})

    assert lost.send_lost(found)
    assert not lost.send_lost(found)

    one.refresh_from_db()
    assert (one.state, one.attempt, one.delivery, one.sequence) == (State.QUEUED, 2, 0, -1)
    message = Outbox.objects.get(request=one)
    assert message.headers["x-labrelay-attempt"] == 2
    event = RequestEvent.objects.get(request=one)
    assert (event.state, event.attempt) == (State.QUEUED, 2)


def test_what_moved_since_it_looked_lost_is_not_sent_again():
    one = row(State.PUBLISHED)
    assert not lost.send_lost(Missing(one.pk, one.version + 1, one.changed_at, one.changed_at))
    assert not Outbox.objects.exists()


def test_only_what_no_lab_ever_took_expires():
    waits, taken, young = row(State.PUBLISHED), row(State.INFERRING), row(State.QUEUED, age=5)
    InferenceRequest.objects.filter(pk=taken.pk).update(accepted_at=ago(300))
    assert set(overdue.expired(60)) == {waits.pk}

    assert overdue.expire(waits.pk, 60)
    assert not overdue.expire(taken.pk, 60)
    waits.refresh_from_db()
    young.refresh_from_db()
    assert (waits.state, waits.failure_code) == (State.FAILED, "expired")
    assert young.state == State.QUEUED


def test_a_replay_by_staff_begins_the_time_limits_anew():
    one = row(State.DEAD, age=500)
    assert send_again(one.pk, by_staff=True)
    assert not overdue.expired(60)
    InferenceRequest.objects.filter(pk=one.pk).update(replayed_at=ago(70))
    assert set(overdue.expired(60)) == {one.pk}


def test_what_was_to_be_cancelled_expires_as_cancelled():
    one = row(State.CANCELLING, cancel_asked_at=ago(500))
    assert set(overdue.expired(60)) == {one.pk}
    assert overdue.expire(one.pk, 60)
    one.refresh_from_db()
    assert (one.state, one.failure_code) == (State.CANCELLED, "")
    assert one.sweep_due_at is not None


def test_the_time_limit_runs_from_the_acceptance():
    late = row(State.WAITING, age=9000, accepted_at=ago(3700))
    row(State.INFERRING, age=9000, accepted_at=ago(3500))
    row(State.PUBLISHED, age=9000)
    assert set(overdue.overdue(30)) == {late.pk}
    assert overdue.overdue(200) == {}

    assert overdue.end_overdue(late.pk, 30)
    late.refresh_from_db()
    assert (late.state, late.failure_code) == (State.FAILED, "deadline_exceeded")
    # Whoever takes it from its tier is told to stop.
    assert Outbox.objects.get(request=late).type == "cancel.requested.v1"


def test_what_was_lost_after_a_lab_took_it_has_its_whole_time_anew():
    one = row(State.ACCEPTED, age=2000, sequence=0, accepted_at=ago(3500))
    (found,) = lost.missing(PACE, {"lab": None})
    assert lost.send_lost(found)
    InferenceRequest.objects.update(state=State.PUBLISHED, created_at=ago(9000))
    assert overdue.overdue(30) == {}
    # What no lab takes then still ends.
    assert set(overdue.expired(8000)) == {one.pk}


def test_a_lab_whose_clock_is_behind_does_not_make_a_new_request_late():
    row(State.ACCEPTED, age=20, accepted_at=ago(9000))
    assert overdue.overdue(0) == {}


def test_a_replayed_request_has_a_new_time_limit():
    one = row(State.QUEUED, age=9000)
    assert not overdue.end_overdue(one.pk, 30)


def test_a_cancel_is_settled_when_no_lab_that_is_online_holds_the_request():
    asked = {"cancel_asked_at": ago(20)}
    held, gone = row(State.CANCELLING, **asked), row(State.CANCELLING, **asked)
    row(State.CANCELLING, cancel_asked_at=ago(2))
    lab(held.pk)
    lab(gone.pk, silent=40)
    assert unclaimed.unanswered_cancels(10) == [gone.pk]

    assert unclaimed.settle_cancel(gone.pk)
    assert not unclaimed.settle_cancel(gone.pk)
    gone.refresh_from_db()
    assert gone.state == State.CANCELLED
    assert gone.sweep_due_at is not None


def test_the_archive_is_not_asked_about_what_nobody_wants():
    # There is no archive at the default address: asked, this would raise.
    assert archived.whole_result(row(State.CANCELLING).pk) is None
    assert archived.whole_result(uuid4()) is None


def test_one_process_holds_a_lease_until_it_gives_it_back_or_stops_renewing_it():
    first, second = uuid4(), uuid4()
    assert site_lease.take("reconciler", first, 30)
    assert not site_lease.take("reconciler", second, 30)
    assert site_lease.take("reconciler", first, 30)
    assert site_lease.take("another", second, 30)

    site_lease.give_back("reconciler", second)
    assert not site_lease.take("reconciler", second, 30)
    site_lease.give_back("reconciler", first)
    assert site_lease.take("reconciler", second, 30)

    SiteLease.objects.filter(name="reconciler").update(until=ago(1))
    assert site_lease.take("reconciler", first, 30)
