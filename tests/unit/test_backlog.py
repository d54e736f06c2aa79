"""When what waits in a pool's queues explains that nothing is told of a request, and when not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from messages.lab import ARCHIVE_AWAY
from messages.topology import requests_queue, retry_queue
from tests.unit.test_reconcile_rules import PACE, ago, lab, row, sent
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.labs.models import Lab
from web.reconciler import lost
from web.reconciler.backlog import Backlogs

pytestmark = pytest.mark.django_db

#: What each request may take.
HOUR = 3600


@dataclass(frozen=True)
class Depth:
    """What the broker says of the pool's queues together."""

    ready: int
    consumers: int = 1


#: One message of whomever: a lab of the pool can keep it there for ever.
JUNK = Depth(ready=1)


class Site:
    """Looks at one pool again and again, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.backlogs = Backlogs(clock=lambda: self.now)

    def missing(self, depth: Depth | None = JUNK, *, later: float = 0) -> set[UUID]:
        self.now += later
        found = {"lab": self.backlogs.look("lab", depth)}
        self.backlogs.keep(found)
        return {one.request_id for one in lost.missing(PACE, found)}


@pytest.fixture
def site() -> Site:
    lab()
    return Site()


def waiting(*, since: float, **columns: Any) -> InferenceRequest:
    """One that has waited for a lab for so many seconds."""
    return row(State.PUBLISHED, age=since, published_at=ago(since), **columns)


def taken(*, made: float) -> InferenceRequest:
    """One that was made so many seconds ago, and of which a lab has told just now."""
    one = row(State.ACCEPTED, age=made, sequence=0, accepted_at=ago(1))
    InferenceRequest.objects.filter(pk=one.pk).update(changed_at=ago(1))
    return one


def test_what_waits_behind_a_backlog_that_moves_is_never_sent_again(site: Site) -> None:
    waiting(since=50_000)
    for made in range(60_000, 51_000, -500):
        taken(made=made)
        assert site.missing(later=HOUR - 100) == set()


def test_what_labs_have_gone_past_does_not_wait_there(site: Site) -> None:
    swallowed = waiting(since=PACE.unexplained_s + 20)
    waiting(since=PACE.unexplained_s - 20)
    behind = waiting(since=PACE.unexplained_s + 5)
    taken(made=PACE.unexplained_s + 10)
    assert site.missing() == {swallowed.pk}
    taken(made=10)
    assert site.missing() == {swallowed.pk, behind.pk}


def test_what_labs_of_another_pool_take_goes_past_nothing(site: Site) -> None:
    waiting(since=5000)
    other = taken(made=10)
    InferenceRequest.objects.filter(pk=other.pk).update(pool="server")
    assert site.missing() == set()


def test_what_a_lab_took_and_is_silent_about_is_lost_once_labs_have_taken_another_since(
    site: Site,
) -> None:
    swallowed = row(State.INFERRING, age=PACE.unexplained_s + 20, sequence=3)
    row(State.INFERRING, age=PACE.unexplained_s - 20, sequence=3)
    # Its lab may have died: then it lies at the head, and the others are busy.
    assert site.missing() == set()
    assert site.missing(later=5) == set()
    taken(made=10)
    assert site.missing(later=5) == {swallowed.pk}
    # Long before its time limit ends it.
    assert PACE.unexplained_s < swallowed.deadline_s / 2


def test_what_a_lab_took_and_is_silent_about_is_lost_where_labs_come_no_further(
    site: Site,
) -> None:
    swallowed = row(State.ACCEPTED, age=PACE.unexplained_s + 20, sequence=0)
    assert site.missing() == set()
    assert site.missing(later=HOUR) == {swallowed.pk}


def test_what_a_lab_took_last_is_no_sign_that_labs_went_past_it(site: Site) -> None:
    waiting(since=5000)
    site.missing()
    newest = row(State.ACCEPTED, age=3, sequence=0)
    site.missing(later=5)
    InferenceRequest.objects.filter(pk=newest.pk).update(changed_at=ago(PACE.unexplained_s + 3))
    assert newest.pk not in site.missing(later=PACE.unexplained_s)


@pytest.mark.parametrize("state", [State.ACCEPTED, State.PUBLISHED])
def test_what_a_dead_lab_listed_lies_at_the_head_until_labs_have_taken_another_since(
    site: Site, state: State
) -> None:
    made = PACE.unexplained_s + 20
    one = row(state, age=made, published_at=ago(made), sequence=0)
    lab(one.pk)
    site.missing()
    taken(made=made - 10)
    assert site.missing(later=5) == set()
    # It died after that. The others are still at what they have.
    Lab.objects.exclude(current=[]).update(last_seen=ago(PACE.gone_s + 20))
    assert site.missing(later=600) == set()
    taken(made=10)
    assert site.missing(later=5) == {one.pk}


def test_what_came_back_from_a_tier_waits_until_labs_have_gone_past_it(site: Site) -> None:
    one = row(State.WAITING, age=5000, next_try_at=ago(2000), sequence=1)
    taken(made=2500)
    assert site.missing() == set()
    taken(made=1500)
    assert site.missing() == {one.pk}


def test_labs_that_take_nothing_for_as_long_as_one_may_take_explain_nothing(site: Site) -> None:
    one = waiting(since=5000)
    assert site.missing() == set()
    assert site.missing(later=HOUR - 1) == set()
    assert site.missing(later=1) == {one.pk}
    # Another one was taken, which was made before.
    taken(made=6000)
    assert site.missing() == set()
    assert site.missing(later=HOUR) == {one.pk}


def test_junk_that_comes_and_goes_does_not_begin_the_hour_anew(site: Site) -> None:
    one = waiting(since=PACE.unexplained_s + 20)
    for _ in range(13):
        site.missing(JUNK, later=HOUR / 24)
        # Seen as lost while the queues are empty, and not for long enough at a stretch.
        assert site.missing(Depth(ready=0), later=HOUR / 24) == {one.pk}
    assert site.missing(JUNK) == {one.pk}


@pytest.mark.parametrize("absent", [{"last_seen": ago(60)}, {"condition": ARCHIVE_AWAY}])
def test_while_no_lab_takes_requests_nothing_that_waits_is_sent_again(
    site: Site, absent: dict[str, Any]
) -> None:
    one = waiting(since=50_000)
    site.missing()
    Lab.objects.update(**absent)
    assert site.missing(later=10 * HOUR) == set()
    # It is back: what waited meanwhile is not taken for lost at once.
    Lab.objects.update(last_seen=ago(0), condition="serving")
    assert site.missing(later=HOUR - 1) == set()
    assert site.missing(later=1) == {one.pk}


def test_what_was_not_looked_at_meanwhile_did_not_stand(site: Site) -> None:
    waiting(since=5000)
    site.missing()
    site.backlogs.keep([])
    assert site.missing(later=HOUR) == set()


def test_a_broker_that_does_not_say_what_waits_delays_and_does_not_prevent(site: Site) -> None:
    one = waiting(since=PACE.unexplained_s + 20)
    assert site.missing(None) == set()
    taken(made=10)
    assert site.missing(None) == {one.pk}


def test_silent_labs_that_consume_are_waited_for_longer(site: Site) -> None:
    one = row(State.ACCEPTED, age=PACE.lost_s + 20, sequence=0)
    Lab.objects.update(last_seen=ago(60))
    assert site.missing(Depth(ready=0, consumers=1)) == set()
    assert site.missing(Depth(ready=0, consumers=0)) == {one.pk}
    # Not by time alone: they may work. Its time limit ends it.
    InferenceRequest.objects.update(changed_at=ago(PACE.unexplained_s + 20))
    assert site.missing(Depth(ready=0, consumers=1), later=HOUR) == set()
    Lab.objects.update(last_seen=ago(0))
    assert site.missing(Depth(ready=0, consumers=1)) == {one.pk}


@pytest.mark.parametrize("state", [State.ACCEPTED, State.PUBLISHED])
def test_while_no_lab_takes_requests_what_came_back_to_the_head_is_not_sent_again(
    site: Site, state: State
) -> None:
    row(state, age=5000, published_at=ago(5000), sequence=0)
    site.missing()
    taken(made=10)
    site.missing(later=5)
    Lab.objects.update(last_seen=ago(5000))
    assert site.missing(later=5) == set()
    assert site.missing(None, later=10 * HOUR) == set()


def test_how_far_labs_have_come_is_asked_of_requests_no_older_than_what_is_open(
    site: Site,
) -> None:
    waiting(since=5000)
    with CaptureQueriesContext(connection) as queries:
        site.missing()
    (asked,) = [q["sql"] for q in queries if "sequence" in q["sql"] and "LIMIT 1" in q["sql"]]
    assert '"created_at" >= ' in asked


def test_what_was_sent_again_behind_a_backlog_is_sent_less_and_less_often(site: Site) -> None:
    one = row(State.ACCEPTED, age=PACE.unexplained_s * 4 - 20, sequence=0)
    sent(one, 3)
    assert site.missing() == set()
    taken(made=10)
    assert site.missing(later=5) == set()
    InferenceRequest.objects.filter(pk=one.pk).update(changed_at=ago(PACE.unexplained_s * 4 + 20))
    assert site.missing() == {one.pk}


def test_a_tier_in_which_a_lab_puts_a_request_off_is_shorter_than_the_patience() -> None:
    assert PACE.unexplained_s > 600 + PACE.lost_s


def test_what_rules_ask_for_is_nowhere_that_a_reader_s_request_waits() -> None:
    queues = lost.queues_of("lab")
    assert requests_queue("lab") in queues
    assert retry_queue("lab", "10m") in queues
    assert not [name for name in queues if "rules" in name]
