"""Since when the site hears the labs: what its silence may be taken for."""

from __future__ import annotations

from typing import cast

from web.broker.connection import Session
from web.broker.depth import Ear

#: Never asked anything.
SESSION = cast("Session", object())


def test_the_labs_are_heard_only_while_outcomes_and_heartbeats_can_come() -> None:
    ear = Ear()
    heard = [ear.since]
    with ear.on(SESSION):
        heard.append(ear.since)
        with ear.hints():
            both = ear.since
        heard.append(ear.since)
    with ear.hints():
        heard.append(ear.since)

    assert heard == [None] * 4
    assert both is not None


def test_a_break_in_the_heartbeats_begins_the_time_anew() -> None:
    ear = Ear()
    with ear.on(SESSION):
        with ear.hints():
            before = ear.since
        with ear.hints():
            after = ear.since

    assert before is not None
    assert after is not None
    assert after > before
