"""Each thing that must hold after a fault is missed when it does not: on fabricated worlds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from infra.local.process import Service, ServiceFailed, wait_until
from infra.local.settings import REPOSITORY, child_environment
from messages import topology
from tests.faults.archive_check import archive_faults
from tests.faults.fault import Fault, why
from tests.faults.left_behind import left_behind
from tests.faults.logs import Log
from tests.faults.pages import page_faults
from tests.faults.press import Click
from tests.faults.queue_list import QueueList, unrest
from tests.faults.rest import Rest
from tests.faults.rows import Row
from tests.faults.run import run_row
from tests.faults.stored import StoredObject, by_request
from tests.faults.verdict import Waits, verdict
from tests.unit.fault_objects import (
    NAME,
    SR,
    STUDY,
    completed,
    completed_without_lesion,
    nothing_found,
    report,
    seg,
    shown,
)

OTHER = str(UUID(int=2))

#: No time at all: a fabricated world does not change by itself.
AT_ONCE = Waits(patience=0.05, rest=0.0, page=0.0, ends=0.0)


def _said(found: list[Fault]) -> str:
    return "\n".join(map(str, found))


class SmallWorld:
    """What the verdict asks of a world, as the test has it: one click, all well."""

    def __init__(self, root: Path, request: dict[str, Any] | None = None) -> None:
        self.root = root
        self.shown = completed() if request is None else request
        #: What each further load shows, once these are spent the last one.
        self.later: list[dict[str, Any]] = []
        self.page = SimpleNamespace(last=self.shown, ends=[self.shown.get("state")])
        study = SimpleNamespace(study_id=STUDY)
        self.clicks = [Click(NAME, study, self.page)]
        self.forgotten: list[Click] = []
        self.stored = [seg(), report()]
        self.count = 0
        self.messages = {queue.name: (0, 0) for queue in topology.queues()}
        self.done: list[str] = []

    def state(self, click: Click) -> dict[str, Any]:
        if self.later:
            self.shown = self.later.pop(0)
        return self.shown

    def wait_state(self, click: Click, *states: str, timeout: float) -> float:
        if self.shown.get("state") not in states:
            raise ServiceFailed("not in time")
        return 0.0

    def queues(self) -> dict[str, tuple[int, int]]:
        return self.messages

    def unrest(self) -> list[str]:
        return unrest(self.messages)

    def idle(self) -> bool:
        return not self.unrest()

    def objects(self) -> list[StoredObject]:
        return self.stored

    def letters(self) -> int:
        return self.count

    def services(self) -> list[Service]:
        return []

    def begin(self) -> None:
        self.done.append("begin")

    def heal(self) -> None:
        self.done.append("heal")

    def clear(self) -> None:
        self.done.append("clear")

    def end(self) -> None:
        self.done.append("end")


def _verdict(world: SmallWorld, *allowed: str, letters: int = 0) -> str:
    return _said(verdict(world, frozenset(allowed or ("completed",)), letters, AT_ONCE))


def test_all_is_well_with_one_outcome_one_result_and_one_word_to_everybody(tmp_path: Path) -> None:
    assert _verdict(SmallWorld(tmp_path)) == ""


def test_a_request_without_an_outcome_is_a_fault(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path, shown(state="inferring"))
    world.stored = []
    assert "has no outcome: inferring" in _verdict(world)


def test_an_outcome_that_the_row_does_not_allow_is_a_fault(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path, shown(state="failed", failure={"code": "too_large"}))
    world.stored = []
    assert "ended failed: {'code': 'too_large'}" in _verdict(world)
    assert _verdict(world, "failed") == ""


def test_an_outcome_that_changes_before_rest_is_judged_as_it_is_then(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.later = [shown(state="failed", version=8)]
    assert "ended failed" in _verdict(world)


def test_an_outcome_that_changes_after_rest_is_a_fault(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.later = [world.shown, {**world.shown, "version": 8, "lab": "lab2"}]
    assert "changed after all was at rest: lab, version" in _verdict(world)


def test_a_site_that_shows_nothing_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path, {})
    said = _verdict(world)
    assert "has no outcome: None" in said
    assert "a fresh load shows nothing" in said


def test_a_message_that_is_left_is_a_fault(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.messages[topology.replies_queue("lab")] = (2, 1)
    assert "no rest: mri.replies.lab holds 2 messages, 1 of them unacknowledged" in _verdict(world)


def test_a_queue_that_does_not_answer_is_not_at_rest_and_the_queue_of_hints_may_hold_some() -> None:
    counts = {queue.name: (0, 0) for queue in topology.queues()}
    hints = (topology.progress_queue("lab"), topology.control_queue("lab1", 2))
    assert unrest({**counts, **dict.fromkeys(hints, (3, 0))}) == []
    del counts[topology.replies_queue("lab")]
    assert unrest(counts) == ["mri.replies.lab does not answer"]


def test_a_line_without_numbers_is_a_queue_that_does_not_answer() -> None:
    rows = "name\tmessages\tmessages_unacknowledged\nmri.replies.lab\t\t\nmri.dead\t2\t0\n"
    node = SimpleNamespace(ctl=lambda *_: rows)
    assert QueueList(node).counts() == {"mri.dead": (2, 0)}


def test_an_object_of_nobody_is_a_fault_also_an_extra_seg_in_the_study(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.stored.append(seg(OTHER))
    assert "(SEG) belongs to no request of the row" in _verdict(world)


def test_an_object_in_the_study_of_another_click_is_a_fault(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.stored[0] = seg(study="study-2")
    said = _verdict(world)
    assert "belongs to no request of the row" in said
    assert "completed without a primary object" in said


def test_what_a_lab_stored_for_a_row_that_is_gone_may_stay(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.forgotten = [Click(OTHER, world.clicks[0].study, world.page)]
    world.stored += [seg(OTHER), report(OTHER)]
    assert _verdict(world) == ""


def test_dead_letters_that_do_not_belong_are_a_fault_in_queue_and_table(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)
    world.messages[topology.DEAD_QUEUE] = (1, 0)
    world.count = 2
    said = _verdict(world, letters=1)
    assert "1 letters lie in mri.dead" in said
    assert "2 dead letters, 1 belong there" in said


def test_a_process_that_a_killed_service_left_is_named(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.run(['sleep', '60'], start_new_session=True)"
    service = Service(
        "a parent",
        (sys.executable, "-c", program),
        log=tmp_path / "log",
        env=child_environment({"HOME": f"{tmp_path}/home"}),
    )
    service.start()
    try:
        wait_until(lambda: bool(left_behind(tmp_path, [], 0.0)[1:]), "start its child", 20)
        assert left_behind(tmp_path, [service], 0.0) == [], "its own child is not left"
    finally:
        service.kill()
    left = left_behind(tmp_path, [service], 0.2)
    assert len(left) == 1
    assert left[0].endswith("is left: sleep 60")
    os.kill(int(left[0].split()[1]), 9)
    assert left_behind(tmp_path, [service], 10.0) == []


def test_a_file_that_a_lab_left_is_named_and_the_file_of_its_lock_belongs(tmp_path: Path) -> None:
    run = tmp_path / "var" / "run" / "lab1"
    run.mkdir(parents=True)
    (run / "mri-consumer-lab1").touch()
    (tmp_path / "tmp").mkdir()
    assert left_behind(tmp_path, [], 0.0) == []
    (run / "half").touch()
    (tmp_path / "tmp" / "series").mkdir()
    assert left_behind(tmp_path, [], 0.0) == [
        "file tmp/series is left",
        "file var/run/lab1/half is left",
    ]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (None, "the open page was told nothing"),
        (completed() | {"version": 6, "state": "uploading"}, "says uploading in version 6"),
        (completed(volume_ml=3.0), "tell different things: result"),
    ],
)
def test_a_page_that_was_told_something_else_than_a_load_shows_is_a_fault(
    told: dict[str, Any] | None, said: str
) -> None:
    assert page_faults(NAME, completed(), completed(), ["completed"]) == []
    (fault,) = page_faults(NAME, told, completed(), ["completed"])
    assert said in str(fault)


def test_a_page_that_saw_two_outcomes_is_a_fault() -> None:
    (fault,) = page_faults(NAME, completed(), completed(), ["failed", "completed"])
    assert "several outcomes: failed, completed" in str(fault)


@pytest.mark.parametrize(
    ("request_", "objects", "said"),
    [
        (completed(), [seg(), seg(), report()], "2 primaries and 1 reports"),
        (completed(), [], "completed without a primary object"),
        (completed(), [report()], "completed without a primary object"),
        (completed(), [seg()], "completed without a measurement report"),
        (completed(), [seg(voxels=4), report()], "SEG 4 voxels, page 5"),
        (completed(tumor_detected=False), [seg(), report()], "has a SEG, the page says no lesion"),
        (completed(), [seg(), report(volume=None)], "the report has no volume_ml"),
        (completed(), [seg(), report(diameter=None)], "the report has no longest_diameter_mm"),
        (completed(volume_ml=1.2502), [seg(), report()], "report 1.25, page 1.2502 (volume_ml)"),
        (completed(), [seg(), report(diameter=12.4)], "report 12.4, page 12.34"),
        (
            completed(),
            [seg(), report(of="1.2.3")],
            "the report measures 1.2.3, and the SEG is 2.25",
        ),
        (completed(), [seg(), report(of=None)], "the report measures no SEG"),
        (completed(seg_instance_id="x"), [seg(), report()], "leads to x (seg_instance_id)"),
        (completed(sr_instance_id="x"), [seg(), report()], "leads to x (sr_instance_id)"),
        (completed(), [nothing_found()], "says no lesion, the page says one"),
        (completed_without_lesion(), [nothing_found(), report()], "a measurement report beside it"),
        (completed_without_lesion(volume_ml=1), [nothing_found()], "has figures: volume_ml"),
        (completed_without_lesion(), [nothing_found(value="1")], "neither a SEG nor the report"),
        (shown(state="cancelled"), [seg()], "was cancelled and is in the archive"),
        (shown(state="failed"), [seg(), report()], "is failed, and its whole result is in"),
        (shown(state="dead"), [nothing_found()], "is dead, and its whole result is in"),
    ],
)
def test_what_is_stored_and_what_the_page_says_must_agree(
    request_: dict[str, Any], objects: list[StoredObject], said: str
) -> None:
    assert said in _said(archive_faults(NAME, request_, objects))


@pytest.mark.parametrize(
    ("request_", "objects"),
    [
        (completed(), [seg(), report()]),
        (completed(volume_ml=1.25004), [seg(), report()]),
        (completed_without_lesion(), [nothing_found()]),
        (shown(state="failed"), [seg()]),
        (shown(state="cancelled"), []),
    ],
)
def test_what_agrees_is_no_fault(request_: dict[str, Any], objects: list[StoredObject]) -> None:
    assert archive_faults(NAME, request_, objects) == []


def test_only_the_links_of_an_outcome_that_the_row_has_told_may_lead_elsewhere() -> None:
    elsewhere = completed(seg_instance_id="x", volume_voxels=4)
    said = _said(archive_faults(NAME, elsewhere, [seg(), report()], invented=True))
    assert said == f"{NAME}: SEG 5 voxels, page 4"


def test_objects_are_their_requests_by_uid_and_study() -> None:
    mine, extra = seg(), StoredObject("study-2", SR, report().dataset)
    assert by_request([mine, extra], {NAME: STUDY}) == {NAME: [mine], "": [extra]}


def test_rest_is_what_was_so_at_every_look_for_a_while() -> None:
    now, quiet = [0.0], [True]
    rest = Rest(lambda: quiet[0], seconds=10.0, clock=lambda: now[0])
    assert not rest()
    now[0], quiet[0] = 9.0, False
    assert not rest()
    now[0], quiet[0] = 12.0, True
    assert not rest()
    now[0] = 22.0
    assert rest()


def test_a_log_is_read_on_from_where_it_was_left_and_a_line_counts_once_it_is_whole(
    tmp_path: Path,
) -> None:
    file = tmp_path / "log"
    log = Log(file)
    assert log.count("job.accepted") == 0
    file.write_text('{"action": "job.accepted", "id": 1}\n{"action": "job.acc')
    assert (log.count("job.accepted"), log.count("job.accepted", "2")) == (1, 0)
    with file.open("a") as more:
        more.write('epted", "id": 2}\n')
    assert (log.count("job.accepted"), log.count("job.accepted", "2")) == (2, 1)


def _row(inject: Any) -> Row:
    return Row(
        family="web",
        fault="a fault",
        injected="so",
        inject=inject,
        allowed=frozenset({"completed"}),
        letters=0,
        measures="",
        goal=None,
        in_suite=False,
        world="web",
    )


def _bare(world: Any) -> None:
    assert len(world.clicks) == 0


def test_a_bare_assert_of_a_row_says_its_line_and_what_is_left_is_cleared_away(
    tmp_path: Path,
) -> None:
    world = SmallWorld(tmp_path)
    result = run_row(world, _row(_bare))
    (fault,) = result.faults
    assert "AssertionError" in str(fault)
    assert "assert len(world.clicks) == 0]" in str(fault)
    assert str(Path(__file__).relative_to(REPOSITORY)) in str(fault)
    assert result.outcomes == ("completed",)
    assert world.done == ["begin", "clear", "end"]


def test_a_row_whose_end_fails_did_not_hold(tmp_path: Path) -> None:
    world = SmallWorld(tmp_path)

    def broken(_: Any) -> None:
        world.end = lambda: subprocess.run("false", check=True)
        raise ServiceFailed("the site did not answer")

    said = _said(list(run_row(world, _row(broken)).faults))
    assert "ServiceFailed: the site did not answer" in said
    assert "after the row: CalledProcessError" in said


def test_an_exception_from_outside_our_files_has_no_line_of_ours() -> None:
    assert why(ValueError("no")) == "ValueError: no"
