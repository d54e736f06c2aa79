"""Whose turn it is: suspects alone, and no request that kills its lab takes a neighbour along."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.amqp.scheduling import QUARANTINED_FROM, choose

#: The delivery limit of the topology: at the next count a request becomes a dead letter.
LIMIT = 20


@dataclass
class Named:
    request_id: UUID
    attempt: int = 1


@dataclass
class Waiting:
    deaths: int = 0
    request: Named = field(default_factory=lambda: Named(uuid4()))
    cancelled: Event = field(default_factory=Event)


def cancelled(count: int = 0) -> Waiting:
    candidate = Waiting(count)
    candidate.cancelled.set()
    return candidate


def chosen(waiting: list[Waiting], running: list[Waiting], **changes: Any) -> Waiting | None:
    return choose(waiting, running, **{"at_once": 2, "healthy": True, "closed": True, **changes})


def test_requests_begin_in_the_order_in_which_they_came_and_no_more_than_may_run() -> None:
    first, second, third = Waiting(), Waiting(2), Waiting()
    assert chosen([first, second], []) is first
    assert chosen([second], [first]) is second
    assert chosen([third], [first, second]) is None


def test_a_suspect_waits_for_the_others_and_for_a_lab_that_takes_no_more() -> None:
    alone, other = Waiting(QUARANTINED_FROM), Waiting()
    assert chosen([alone, other], []) is other
    assert chosen([alone], [other]) is None
    assert chosen([alone], [], closed=False) is None
    assert chosen([alone], []) is alone


def test_nothing_begins_while_a_suspect_runs_not_even_what_was_cancelled() -> None:
    assert chosen([Waiting(), cancelled()], [Waiting(QUARANTINED_FROM)]) is None


def test_while_the_lab_is_not_healthy_only_a_cancelled_request_begins() -> None:
    gone = cancelled()
    assert chosen([Waiting(), Waiting(QUARANTINED_FROM)], [], healthy=False) is None
    assert chosen([Waiting(), gone], [], healthy=False) is gone


@pytest.mark.parametrize("count", [0, QUARANTINED_FROM])
def test_a_cancelled_request_begins_beside_as_many_as_may_run(count: int) -> None:
    gone = cancelled(count)
    assert chosen([gone], [Waiting(), Waiting()], closed=False) is gone


@given(st.lists(st.integers(QUARANTINED_FROM, LIMIT), min_size=1, max_size=16), st.data())
def test_among_suspects_each_is_first_after_some_of_as_many_deaths_as_they_are(
    counts: list[int], data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.uuids(), min_size=16, max_size=16, unique=True))
    first = set()
    for deaths in range(len(counts)):
        waiting_alone = [
            Waiting(count + deaths, Named(id_)) for count, id_ in zip(counts, ids, strict=False)
        ]
        choice = chosen(waiting_alone, [])
        assert choice is not None
        first.add(choice.request.request_id)
    assert len(first) == len(counts)


@given(
    st.integers(1, 16).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))),
    st.lists(st.uuids(), min_size=16, max_size=16, unique=True),
)
def test_one_that_kills_its_lab_each_time_wears_out_nobody_but_itself(
    sizes: tuple[int, int], ids: list[UUID]
) -> None:
    # All at once in one lab, from their first delivery on, as many as a lab may hold.
    number, killer = sizes
    held = [Waiting(0, Named(id_)) for id_ in ids[:number]]
    poison = held[killer]
    while poison.deaths <= LIMIT:
        waiting, running = list(held), list[Waiting]()
        while choice := chosen(waiting, running, at_once=number):
            waiting.remove(choice)
            running.append(choice)
            if choice.deaths >= QUARANTINED_FROM and choice is not poison:
                held.remove(choice)
                running.remove(choice)
        assert poison in running
        for each in held:
            each.deaths += 1
            assert each is poison or each.deaths <= LIMIT
    assert held == [poison]
