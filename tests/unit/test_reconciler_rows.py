"""A row that no rule can handle keeps no other from its turn, and no lab holds one for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from django.utils import timezone

from messages.identity import primary_instance_uid
from tests.unit.test_reconcile_rules import PACE, ago, lab, missing, row
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.labs.models import Lab
from web.orthanc.archive import Orthanc
from web.reconciler import overdue, unclaimed
from web.reconciler.sweep import Sweeper

pytestmark = pytest.mark.django_db

#: No time lies an hour after it.
LAST = datetime.max.replace(tzinfo=UTC)


def test_a_row_whose_times_cannot_be_added_to_keeps_no_other_from_expiring():
    broken, late = row(State.PUBLISHED), row(State.PUBLISHED)
    InferenceRequest.objects.filter(pk=broken.pk).update(replayed_at=LAST)
    assert set(overdue.expired(500)) == {late.pk}
    broken_two = row(State.ACCEPTED, accepted_at=ago(600))
    InferenceRequest.objects.filter(pk=broken_two.pk).update(replayed_at=LAST)
    over = row(State.ACCEPTED, age=7200, accepted_at=ago(7200))
    assert set(overdue.overdue(30)) == {over.pk}


def test_a_row_at_which_the_sweep_fails_keeps_no_other_in_the_archive():
    def answer(request: httpx.Request) -> httpx.Response:
        if request.content.decode() == primary_instance_uid(broken.pk):
            raise RuntimeError("a fault of ours")
        return httpx.Response(200, json=[])

    due = {"sweep_due_at": ago(10), "age": 10_000}
    broken = row(State.CANCELLED, **{**due, "sweep_due_at": ago(20)})
    clean = row(State.CANCELLED, **due)
    orthanc = Orthanc("http://archive.invalid", "", "", transport=httpx.MockTransport(answer))
    assert Sweeper(orthanc).sweep(10) == 1
    clean.refresh_from_db()
    assert clean.sweep_due_at is None


def test_a_lab_whose_list_is_no_list_of_ids_keeps_no_cancel_from_being_settled():
    one = row(State.CANCELLING, cancel_asked_at=ago(60))
    lab()
    for rubbish in (["nonsense", 7], {"a": 1}):
        Lab.objects.update(current=rubbish)
        assert unclaimed.unanswered_cancels(10) == [one.pk]


def test_a_request_that_a_lab_lists_for_ever_is_lost_once_its_time_is_over():
    swallowed, working = row(State.PUBLISHED, age=3700), row(State.INFERRING, age=3500)
    lab(swallowed.pk, working.pk)
    # 3600 s is what each may take; nothing was told of the first one for longer.
    assert missing() == {swallowed.pk}


def test_a_cancel_of_what_a_lab_lists_for_ever_ends_once_its_time_is_over():
    one = row(State.CANCELLING, age=3700, cancel_asked_at=ago(3700))
    lab(one.pk)
    assert unclaimed.unanswered_cancels(10) == [one.pk]


def test_a_lab_that_goes_on_telling_of_what_it_lists_keeps_no_cancel_from_ending():
    one = row(State.CANCELLING, age=0, cancel_asked_at=ago(3700))
    fresh = row(State.CANCELLING, age=0, cancel_asked_at=ago(60))
    lab(one.pk, fresh.pk)
    assert unclaimed.unanswered_cancels(10) == [one.pk]


def test_what_a_stranger_or_a_lab_of_another_pool_lists_is_not_held():
    one, two = row(State.INFERRING), row(State.INFERRING)
    lab(one.pk, pool="server")
    lab(two.pk, confirmed_at=None)
    assert missing() == {one.pk, two.pk}
    lab(one.pk)
    assert missing() == {two.pk}


def test_strangers_and_labs_of_the_future_are_not_online():
    lab(uuid4(), confirmed_at=None)
    assert not unclaimed.someone_online("lab")
    lab(silent=-3600)
    assert not unclaimed.someone_online("lab")
    lab(silent=PACE.turn_s)
    assert unclaimed.someone_online("lab")
    assert timezone.now() > ago(1)
