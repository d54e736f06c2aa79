"""Since when the site hears the labs: what its silence may be taken for."""

from __future__ import annotations

from typing import cast

from web.broker.connection import Session
from web.broker.queue_depth import QueueDepth

#: Never asked anything.
SESSION = cast("Session", object())


def test_a_pool_is_heard_only_while_its_outcomes_and_heartbeats_can_come() -> None:
    ear = QueueDepth()
    heard = [ear.since_of("lab")]
    with ear.on(SESSION):
        heard.append(ear.since_of("lab"))
        with ear.listening("mri.progress.lab"):
            heard.append(ear.since_of("lab"))
            with ear.listening("mri.replies.lab"):
                both, another = ear.since_of("lab"), ear.since_of("server")
            heard.append(ear.since_of("lab"))
    with ear.listening("mri.progress.lab"), ear.listening("mri.replies.lab"):
        heard.append(ear.since_of("lab"))

    assert heard == [None] * 5
    assert both is not None
    assert another is None


def test_a_break_in_the_heartbeats_begins_the_time_anew() -> None:
    ear = QueueDepth()
    with ear.on(SESSION), ear.listening("mri.replies.lab"):
        with ear.listening("mri.progress.lab"):
            before = ear.since_of("lab")
        with ear.listening("mri.progress.lab"):
            after = ear.since_of("lab")

    assert before is not None
    assert after is not None
    assert after > before
