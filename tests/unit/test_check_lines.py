"""Parts of the lab's checklist that a machine cannot be made to lack."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from consumer.checks import line as lab_line
from consumer.checks import room
from consumer.checks.line import State, bad, ok, skipped
from consumer.children.segmenter import look_at
from web.checks import database
from web.checks import line as site_line
from web.labs.models import Lab

_GIB = 1024**3


def test_a_line_has_its_sign_and_a_fix_of_commands_one_below_the_other() -> None:
    assert str(ok("broker", "answers")) == "✓ broker: answers"
    assert str(skipped("queues", "broker")) == "- queues: skipped, needs broker"
    assert str(bad("queues", "gone", "on the broker:\nfirst\nsecond")) == (
        "✗ queues: gone  — fix: on the broker:\n      first\n      second"
    )


def test_site_and_lab_write_the_same_lines() -> None:
    assert str(site_line.bad("a", "b", "c\nd")) == str(bad("a", "b", "c\nd"))
    assert str(site_line.skipped("a", "b")) == str(skipped("a", "b"))
    assert str(site_line.warned("a", "b", "c")) == str(lab_line.warned("a", "b", "c"))


@pytest.mark.parametrize("line", [lab_line, site_line], ids=["lab", "site"])
def test_what_wants_something_has_no_check_mark_and_what_is_red_says_what_helps(line: Any) -> None:
    assert str(line.warned("room", "little", "free some")) == "! room: little  — fix: free some"
    with pytest.raises(ValueError, match="OK"):
        line.Line(line.State.OK, "room", "little", "free some")
    with pytest.raises(ValueError, match="BAD"):
        line.Line(line.State.BAD, "room", "none")


def test_limits_that_let_in_more_than_the_machine_has_are_a_warning(tmp_path: Path) -> None:
    lines = {line.noun: line for line in room.check(tmp_path, memory=1, disk=1, largest=2**60)}
    assert lines["largest request"].state is State.WARNED
    assert "lower MAX_REQUEST_BYTES" in lines["largest request"].fix


def test_too_little_memory_and_a_full_disk_are_named_with_what_is_needed(tmp_path: Path) -> None:
    lines = list(room.check(tmp_path, memory=2**60, disk=2**60))
    assert [line.state for line in lines] == [State.BAD] * 3
    assert "end other programs" in lines[0].fix
    assert lines[1].fix.startswith("free 1073741824 GiB")
    assert str(tmp_path) in lines[1].text


def test_memory_that_cannot_be_asked_for_is_no_fault(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    assert room.available_memory(table) is None
    table.write_text("MemTotal: 8 kB\nMemAvailable: 3 kB\n")
    assert room.available_memory(table) == 3072


def torch_with(monkeypatch: pytest.MonkeyPatch, *, build: str | None, gpus: int) -> None:
    """A torch that sees so many GPUs: the machine of the tests need not have one."""
    cuda = SimpleNamespace(
        is_available=lambda: gpus > 0,
        device_count=lambda: gpus,
        mem_get_info=lambda _number: (130 * _GIB, 139 * _GIB),
        get_device_name=lambda number: f"GPU {number}",
    )
    fake: Any = SimpleNamespace(
        __version__="2.13.0",
        version=SimpleNamespace(cuda=build),
        cuda=cuda,
        device=lambda text: SimpleNamespace(index=int(text[5:]) if ":" in text else None),
        get_num_threads=lambda: 2,
    )
    monkeypatch.setitem(sys.modules, "torch", fake)


@pytest.mark.parametrize(
    ("device", "build", "gpus", "said"),
    [
        ("cpu", None, 0, "cpu, 2 threads"),
        ("cuda", "13.0", 1, "GPU 0, 130 of 139 GiB free"),
        ("cuda:1", "13.0", 2, "GPU 1, 130 of 139 GiB free"),
    ],
)
def test_a_device_is_usable_when_torch_sees_it(
    monkeypatch: pytest.MonkeyPatch, device: str, build: str | None, gpus: int, said: str
) -> None:
    torch_with(monkeypatch, build=build, gpus=gpus)
    seen = look_at(device)
    assert (seen.usable, seen.text, seen.fix) == (True, said, "")


@pytest.mark.parametrize(
    ("device", "build", "gpus", "said"),
    [
        ("cuda", None, 0, "build without CUDA"),
        ("cuda", "13.0", 0, "torch sees 0 GPUs"),
        ("cuda:1", "13.0", 1, "torch sees 1 GPUs"),
    ],
)
def test_a_device_that_torch_does_not_see_comes_with_a_fix(
    monkeypatch: pytest.MonkeyPatch, device: str, build: str | None, gpus: int, said: str
) -> None:
    torch_with(monkeypatch, build=build, gpus=gpus)
    seen = look_at(device)
    assert not seen.usable
    assert said in seen.text
    assert seen.fix


@pytest.mark.django_db(transaction=True)
def test_a_lab_that_is_not_heard_has_no_check_mark() -> None:
    now = timezone.now()
    for name, seen in {"lab1": now, "lab2": now - timedelta(minutes=5)}.items():
        Lab.objects.create(
            name=name,
            pool="lab",
            device="cpu",
            models=[],
            current=[],
            last_seen=seen,
            confirmed_at=now,
        )
    lines = [str(line) for line in database.check() if line.noun == "labs"]
    assert lines[0] == "✓ labs: lab1 (lab) online"
    assert lines[1].startswith("! labs: lab2 (lab) not heard for 30 s or more  — fix: start ")
    assert len(lines) == 2
