"""Each thing that a soak counts as wrong is counted: on fabricated sites, pages and archives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from infra.local.process import ServiceFailed
from tests.faults.__main__ import run_world
from tests.faults.reckoning import Reckoning, reckon
from tests.faults.record import Record
from tests.faults.results_table import results_table
from tests.faults.soak_outcome import Outcome, Plan, table
from tests.faults.soak_readers import Wish
from tests.faults.stored import StoredObject
from tests.faults.storms import Target, link_cut
from tests.unit.fault_objects import NAME, STUDY, completed, report, seg, shown
from tests.unit.test_fault_verdict import _row

OTHER = str(UUID(int=2))


class Site:
    """A site, its pages and its archive at the end of a soak."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = {row["request_id"]: row for row in rows}
        self.told = dict(self.rows)
        self.ended = {name: [row["state"]] for name, row in self.rows.items()}
        self.stored: list[StoredObject] = []
        self.reader = SimpleNamespace(get=self._list)

    def objects(self) -> list[StoredObject]:
        return self.stored

    def _list(self, path: str) -> Any:
        """One request a page."""
        names = sorted(self.rows)
        at = int(path.partition("cursor=")[2] or 0)
        page = {
            "requests": [self.rows[name] for name in names[at : at + 1]],
            "next": str(at + 1) if at + 1 < len(names) else None,
        }
        return SimpleNamespace(raise_for_status=lambda: None, json=lambda: page)

    def audience_of(self, _: Wish) -> Any:
        return SimpleNamespace(
            last=lambda name: self.told.get(name, {}), ends=lambda name: self.ended[name]
        )


def _wish(request_id: str = NAME, **fields: Any) -> Wish:
    return Wish(
        **{
            "number": 0,
            "study": SimpleNamespace(study_id=STUDY),
            "threshold": 0.5,
            "due": 0.0,
            "cancel_after": None,
            "request_id": request_id,
            **fields,
        }
    )


def _reckon(site: Site, *wanted: Wish) -> Reckoning:
    return reckon(site, wanted or [_wish()], site)


def _finished() -> Site:
    site = Site(completed())
    site.stored = [seg(), report()]
    return site


def test_a_click_with_one_result_that_everybody_is_told_is_sound() -> None:
    result = _reckon(_finished())
    assert result.sound, result
    assert (result.submitted, result.completed) == (1, 1)


def test_every_page_of_the_list_is_read() -> None:
    site = Site(completed(), shown(OTHER, state="cancelled"))
    site.stored = [seg(), report()]
    result = _reckon(site, _wish(), _wish(OTHER, cancel_after=1.0))
    assert result.sound, result
    assert (result.completed, result.cancelled) == (1, 1)


@pytest.mark.parametrize("wish", [_wish(OTHER), _wish("")])
def test_a_click_that_the_site_does_not_know_or_never_answered_is_lost(wish: Wish) -> None:
    assert _reckon(_finished(), _wish(), wish).lost == [
        f"click 0: {wish.request_id or 'never answered'}"
    ]


@pytest.mark.parametrize("state", ["waiting", "dead"])
def test_a_request_without_an_end_or_that_only_staff_can_end_is_stuck(state: str) -> None:
    assert _reckon(Site(shown(state=state))).stuck == [f"{NAME} is {state}"]


def test_a_request_that_nobody_asked_for_is_doubled() -> None:
    site = Site(completed(), shown(OTHER, state="cancelled"))
    site.stored = [seg(), report()]
    assert _reckon(site).doubled == [f"{OTHER} was asked for by nobody"]


def test_two_clicks_with_one_request_are_doubled() -> None:
    assert _reckon(_finished(), _wish(), _wish()).doubled == [
        "two clicks were answered with one request"
    ]


def test_an_object_that_is_nobodys_or_twice_there_is_doubled() -> None:
    site = _finished()
    site.stored += [seg(OTHER), report()]
    nobodys, twice = _reckon(site).doubled
    assert nobodys.endswith("belongs to no request")
    assert twice.startswith(f"{NAME}: objects 2.25.")


def test_an_object_in_another_study_is_nobodys() -> None:
    site = _finished()
    site.stored[0] = seg(study="study-2")
    assert _reckon(site).doubled[0].endswith("belongs to no request")


def test_a_result_that_disagrees_with_its_page_is_disagreeing() -> None:
    site = _finished()
    site.stored[1] = report(diameter=None)
    assert _reckon(site).disagreeing == [f"{NAME}: the report has no longest_diameter_mm"]


def test_an_open_page_that_was_told_otherwise_is_disagreeing_in_whatever_field() -> None:
    site = _finished()
    site.told[NAME] = completed(slices_with_tumor=2)
    (said,) = _reckon(site).disagreeing
    assert "tell different things: result" in said


def test_an_open_page_that_saw_two_outcomes_is_disagreeing() -> None:
    site = _finished()
    site.ended[NAME] = ["failed", "completed"]
    (said,) = _reckon(site).disagreeing
    assert "several outcomes" in said


def test_a_refused_click_is_disagreeing() -> None:
    (said,) = _reckon(_finished(), _wish(refused="403 no")).disagreeing
    assert said == "click 0 was refused: 403 no"


def test_a_failure_is_counted_and_one_that_no_passing_fault_explains_is_disagreeing() -> None:
    site = Site(shown(state="failed", failure={"code": "archive_unavailable"}))
    assert _reckon(site).sound
    assert _reckon(site).failed == {"archive_unavailable": 1}
    (said,) = _reckon(Site(shown(state="failed", failure={"code": "too_large"}))).disagreeing
    assert "failed with too_large, and nothing was wrong with it" in said


def test_a_cancel_that_nobody_asked_for_is_disagreeing() -> None:
    (said,) = _reckon(Site(shown(state="cancelled"))).disagreeing
    assert "is cancelled and nobody asked for that" in said


def test_a_cancel_that_was_taken_and_came_too_late_is_said_on_the_page() -> None:
    site, wish = _finished(), _wish(cancel_after=1.0, cancel_taken=True)
    (said,) = _reckon(site, wish).disagreeing
    assert "does not say that the cancel came too late" in said
    site.rows[NAME]["cancel_asked_at"] = "2026-01-02T10:00:00+00:00"
    assert _reckon(site, wish).sound


def test_a_request_that_fails_after_its_cancel_was_taken_is_disagreeing() -> None:
    site = Site(shown(state="failed", failure={"code": "archive_unavailable"}))
    (said,) = _reckon(site, _wish(cancel_after=1.0, cancel_taken=True)).disagreeing
    assert "is failed, and its cancel was taken" in said


def _outcome(result: Reckoning, **fields: Any) -> Outcome:
    values: dict[str, Any] = {"cancels": 0, "letters": 0, "left": 0, "took": 60, "settling": 9}
    blows = ({"lab killed": 3}, {"link cut": 2})
    return Outcome(Plan(20, 1.0, 3), result, *blows, **{**values, **fields})


def test_a_soak_holds_with_five_in_a_hundred_failed_and_not_with_more() -> None:
    outcome = _outcome(Reckoning(submitted=20, completed=19, failed={"upload_rejected": 1}))
    assert outcome.held
    assert "at most 5% may fail: so" in table(outcome)
    outcome = _outcome(Reckoning(submitted=20, completed=18, failed={"upload_rejected": 2}))
    assert not outcome.held
    assert "NOT SO" in table(outcome)
    assert "DID NOT HOLD" in table(outcome)


@pytest.mark.parametrize(
    "fields", [{"letters": 1}, {"left": 1}, {"left_behind": "process 7 is left: sleep"}]
)
def test_a_soak_that_leaves_something_does_not_hold(fields: dict[str, Any]) -> None:
    assert _outcome(Reckoning(submitted=1)).held
    assert not _outcome(Reckoning(submitted=1), **fields).held


def test_faults_that_found_nobody_are_counted_apart() -> None:
    lines = [line.split() for line in table(_outcome(Reckoning())).splitlines()]
    assert ["faults", "3"] in lines
    assert ["found", "nobody", "2"] in lines


class Wire:
    """A link at which nobody is."""

    port = 1

    def cut(self) -> None: ...

    def mend(self) -> None: ...


def test_a_link_that_nobody_uses_is_cut_without_finding_anybody() -> None:
    dice = SimpleNamespace(choice=lambda names: names[0], uniform=lambda *_: 0.0)
    target = Target(SimpleNamespace(), [], {"labs and archive": Wire()}, dice)
    assert link_cut(target) == ("labs and archive for 0 s", 0)


class Broken:
    """A world that does not start."""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> Any:
        raise ServiceFailed("RabbitMQ did not answer")

    def __exit__(self, *_: object) -> None: ...


def test_a_world_that_does_not_start_is_written_down_with_the_rows_that_were_not_run(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path / "shown.json", [("a flood", "there is no water")])
    said: list[str] = []
    run_world(Broken, [_row(_outcome)], record, said.append)
    (one,) = record.shown
    assert not one.held
    assert one.row.family == "web"
    assert "ServiceFailed: RabbitMQ did not answer" in str(one.faults[0])
    assert str(one.faults[1]) == "web/_outcome was not run"
    assert (tmp_path / "shown.json").exists()
    assert not list(tmp_path.glob("*.part"))


def test_the_table_names_the_circumstances_the_goal_and_what_is_not_shown() -> None:
    row = {
        "row": "lab/killed",
        "fault": "the lab is killed",
        "injected": "SIGKILL",
        "held": True,
        "measures": "killed to accepted",
        "recovery_s": 2.12,
        "goal_s": 40.0,
        "outcomes": ["completed", "completed"],
    }
    made = results_table(
        {
            "commit": "0123456789abcdef",
            "dirty": True,
            "date": "2026-01-02T10:00:00+00:00",
            "cores": 2,
            "versions": {"rabbitmq": "3.10.8", "orthanc": "1.10.1", "python": "3.11.7"},
            "rows": [row],
            "not_shown": [("a flood", "there is no water")],
        }
    )
    first, *lines = made.splitlines()
    assert first.startswith("1 of 1 rows held. Commit 0123456789ab with changes, 2026-01-02")
    assert "2 cores, RabbitMQ 3.10.8, Orthanc 1.10.1, Python 3.11.7." in first
    assert (
        "| the lab is killed | SIGKILL | 2 completed | killed to accepted: 2.1 s (goal 40) |"
        in lines
    )
    assert "- a flood: there is no water" in lines
