"""What a stranger can have written into the log without end is written now and then."""

from __future__ import annotations

import pytest
import structlog
from django.utils import timezone
from structlog.testing import capture_logs

from messages.lab import MAX_MODELS
from tests.unit.test_growth import beat, described
from tests.unit.test_letters_aside import heard, inbox, item
from web import log_limit
from web.broker import listener
from web.broker.progress import Beat, Hints, write
from web.labs import heartbeats, registry
from web.labs.models import Lab
from web.log_limit import QUIET_SECONDS, LogLimit

QUEUE, OTHER = "mri.replies.lab", "mri.replies.server"


def test_a_line_comes_once_in_so_many_seconds_for_each_queue_and_says_what_was_left_out() -> None:
    now = [100.0]
    limit, log = LogLimit(clock=lambda: now[0]), structlog.get_logger()
    with capture_logs() as logs:
        for _ in range(50):
            limit.write(log.warning, "refused", queue=QUEUE, count=3)
        limit.write(log.warning, "refused", queue=OTHER, count=1)
        limit.write(log.warning, "held", queue=QUEUE, count=1)
        now[0] += QUIET_SECONDS
        limit.write(log.warning, "refused", queue=QUEUE, count=2, detail="why")
    assert [(one["event"], one["queue"], one["count"], one["left_out"]) for one in logs] == [
        ("refused", QUEUE, 3, 0),
        ("refused", OTHER, 1, 0),
        ("held", QUEUE, 1, 0),
        ("refused", QUEUE, 2, 147),
    ]


def test_what_is_remembered_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limit, "_MOST_KEPT", 5)
    limit, log = LogLimit(), structlog.get_logger()
    for number in range(50):
        limit.write(log.warning, "refused", queue=str(number), count=1)
    assert len(limit._last) <= 5


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_events_of_a_newer_version_that_wait_fill_no_log_and_name_no_text_of_a_lab(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "limit", LogLimit())
    held = inbox()
    with capture_logs() as logs:
        for _ in range(10):
            newer = {"message_type": "inference.completed.v2", "message_id": "a lab's own words"}
            await heard([item(b"{}", **newer) for _ in range(20)], held)
    assert held.held == 200
    (line,) = [one for one in logs if one["event"] == "reply_held"]
    assert (line["queue"], line["count"]) == (QUEUE, 20)
    assert "own words" not in str(logs)
    for task in list(held._handing_back):
        task.cancel()


@pytest.mark.django_db(transaction=True)
def test_what_labs_say_of_themselves_and_is_not_believed_is_a_line_for_each_lab(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "limit", LogLimit())
    registry.confirm("lab1", "lab")
    hints = Hints()
    for number in range(MAX_MODELS):
        # Under a pool of another name each: what a lab chooses gives it no further line.
        told = described("lab1", number).model_copy(update={"pool": f"pool{number}"})
        hints.models["lab1", str(number)] = told
    with capture_logs() as logs:
        write(hints)
        write(Hints(models={("lab2", "0"): described("lab2", 0)}))
    lines = [(one["event"], one["lab"], one["count"]) for one in logs]
    assert MAX_MODELS == 64
    assert lines == [("model_not_believed", lab, 1) for lab in ("lab1", "lab2")]


@pytest.mark.django_db(transaction=True)
def test_heartbeats_of_strangers_and_for_another_pool_and_too_many_models_fill_no_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "limit", LogLimit())
    monkeypatch.setattr(heartbeats, "MOST_STRANGERS", 0)
    monkeypatch.setattr(heartbeats, "OFFER_BYTES", 1)
    for name in ("lab1", "lab2"):
        registry.confirm(name, "lab")
    models = (described("lab2", 0).model, described("lab2", 1).model)
    said = [
        beat("lab1").model_copy(update={"pool": "server"}),
        beat("lab2").model_copy(update={"models": models}),
        beat("nobody"),
    ]
    with capture_logs() as logs:
        for _ in range(20):
            now = timezone.now()
            write(Hints(beats={(one.lab, None): Beat(one, now) for one in said}))
    assert [(one["event"], one["lab"], one["count"]) for one in logs] == [
        ("lab_names_another_pool", "lab1", 1),
        ("models_not_offered", "lab2", 2),
        ("stranger_not_written_down", "nobody", 1),
    ]
    assert Lab.objects.count() == 2
