"""How long a run took, as the old interface is told: never by the times of a lab's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from web.inference.presentation import RequestView, Result
from web.legacy.outcome import elapsed

AT = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)


def told(stage_seconds: dict[str, float], **times: datetime | None) -> float:
    view: dict[str, Any] = {"accepted_at": AT, "finished_at": AT + timedelta(seconds=42), **times}
    result = Result.model_construct(stage_seconds=stage_seconds)
    return elapsed(RequestView.model_construct(**view), result)


def test_the_stages_that_a_lab_has_timed_are_summed() -> None:
    assert told({"downloading": 1.25, "inferring": 2.5}) == 3.75


def test_without_them_the_time_is_the_sites_own() -> None:
    assert told({}) == 42.0


@pytest.mark.parametrize(
    "times", [{"accepted_at": None}, {"accepted_at": AT + timedelta(hours=1)}], ids=["none", "late"]
)
def test_what_cannot_be_told_is_no_time_and_never_less(times: dict[str, Any]) -> None:
    assert told({}, **times) == 0.0
