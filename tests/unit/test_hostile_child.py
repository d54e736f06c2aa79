"""An attacker who runs in reader or segmenter gets nowhere, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from infra.local.process import wait_until
from infra.local.settings import REPOSITORY, child_environment

#: Seconds for what takes none, on a busy machine.
PATIENCE = 120.0

#: A password that only the lab may know, in the two parts in which it is looked for.
BEGIN, END = "Zq7-nobody", "else-has-this-4711"


class AttackedLab:
    """A lab as a process of its own: `tests.attacked_lab`."""

    def __init__(self, *options: str) -> None:
        given = {
            "RABBITMQ_URL": f"amqp://lab1:{BEGIN}{END}@127.0.0.1:9/mri",
            "ORTHANC_URL": "http://127.0.0.1:9",
            "ORTHANC_USER": "lab1",
            "ORTHANC_PASSWORD": BEGIN + END,
            "PYTHONPATH": str(REPOSITORY),
        }
        self.process = subprocess.Popen(
            (sys.executable, "-m", "tests.attacked_lab", *options),
            cwd=REPOSITORY,
            env={**child_environment(), **given},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.heard()["pid"]

    def order(self, who: str, name: str, *arguments: Any, seconds: float = PATIENCE) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps((who, name, arguments, seconds)) + "\n")
        self.process.stdin.flush()

    def heard(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the lab has ended"
        return json.loads(line)

    def ask(self, who: str, name: str, *arguments: Any, seconds: float = PATIENCE) -> Any:
        self.order(who, name, *arguments, seconds=seconds)
        heard = self.heard()
        assert "answer" in heard, heard
        return heard["answer"]

    def family(self) -> list[int]:
        """The lab, and everybody between it and its children."""
        found: set[int] = {self.pid}
        for who in ("reader", "segmenter"):
            found.update(self.ask(who, "pids")[1:])
        ours = {pid for pid in found if pid == self.pid or _descends(pid, self.pid)}
        # Whatever else it has started, such as a tracker of resources.
        return sorted(ours | set(_children(self.pid)))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()


def _stat(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ["Z", "0"]


def _descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(_stat(pid)[1])
    return False


def _children(pid: int) -> list[int]:
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [one for one in everyone if int(_stat(one)[1]) == pid]


def gone(pid: int) -> bool:
    return _stat(pid)[0] == "Z"


@pytest.fixture(params=[(), ("--without-landlock",)], ids=["", "without Landlock"])
def lab(request: pytest.FixtureRequest) -> Iterator[AttackedLab]:
    lab = AttackedLab(*request.param)
    yield lab
    lab.end()


@pytest.fixture
def one_lab() -> Iterator[AttackedLab]:
    lab = AttackedLab()
    yield lab
    lab.end()


@pytest.fixture
def broker_and_archive() -> Iterator[list[socket.socket]]:
    """Two that listen, one on each kind of address."""
    with ExitStack() as open_:
        yield [
            open_.enter_context(socket.create_server(("127.0.0.1", 0))),
            open_.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6)),
        ]


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_no_password_of_the_lab_is_found_in_any_process(lab: AttackedLab, who: str) -> None:
    assert lab.ask(who, "secrets", BEGIN, END, lab.family()) == []


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_neither_the_lab_nor_what_it_started_can_be_looked_into(lab: AttackedLab, who: str) -> None:
    own = lab.ask(who, "pids")[0]
    others = [pid for pid in lab.family() if pid != own]
    assert len(others) >= 2
    assert lab.ask(who, "looks_into", others) == []


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_a_child_can_end_neither_the_lab_nor_its_own_keeper(lab: AttackedLab, who: str) -> None:
    _, *above = lab.ask(who, "pids")
    above = above[: above.index(lab.pid) + 1]
    assert lab.ask(who, "signals", above) == []


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_a_child_cannot_join_the_group_of_its_keeper_and_end_it_with_that(
    lab: AttackedLab, who: str, tmp_path: Path
) -> None:
    file = tmp_path / "left"
    lab.order(who, "ends_its_keeper", str(file))
    heard = lab.heard()
    left = int(file.read_text())
    try:
        assert heard == {"answer": []}
        lab.process.kill()
        wait_until(lambda: gone(left), "end what a child has left behind", 10)
    finally:
        if not gone(left):
            os.kill(left, 9)


def test_a_child_can_end_no_process_of_its_user_where_there_is_landlock(
    one_lab: AttackedLab,
) -> None:
    others = [os.getpid(), *one_lab.ask("reader", "pids")[:1]]
    assert one_lab.ask("segmenter", "signals", others) == []


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_neither_broker_nor_archive_is_reached(
    lab: AttackedLab, who: str, broker_and_archive: list[socket.socket]
) -> None:
    addresses = [list(one.getsockname()[:2]) for one in broker_and_archive]
    assert lab.ask(who, "connects", addresses) == []
    for one in broker_and_archive:
        one.settimeout(0)
        with pytest.raises(BlockingIOError):
            one.accept()


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_no_rights_are_there_and_none_can_be_gained(lab: AttackedLab, who: str) -> None:
    assert lab.ask(who, "gains") == []


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_an_answer_runs_no_code_in_the_lab(one_lab: AttackedLab, who: str, tmp_path: Path) -> None:
    file = tmp_path / "code-has-run"
    one_lab.order(who, "answers_as_code", str(file))
    assert "error" in one_lab.heard()
    assert not file.exists()
    assert one_lab.ask(who, "gains") == []


@pytest.mark.parametrize("who", ["reader", "segmenter"])
@pytest.mark.parametrize("way", ["leaves_and_hangs", "leaves_and_crashes", "leaves_a_chain"])
def test_what_a_child_starts_is_gone_when_its_call_has_failed(
    one_lab: AttackedLab, who: str, way: str, tmp_path: Path
) -> None:
    file = tmp_path / "left"
    one_lab.order(who, way, str(file), seconds=2.0)
    assert "error" in one_lab.heard()
    left = int(file.read_text())
    wait_until(lambda: gone(left), "end what a child has left behind", 10)
    # A chain would have gone on writing.
    assert int(file.read_text()) == left or gone(int(file.read_text()))


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_what_a_child_starts_is_gone_when_the_lab_was_killed(
    one_lab: AttackedLab, who: str, tmp_path: Path
) -> None:
    left = one_lab.ask(who, "leaves", str(tmp_path / "left"))
    assert not gone(left)
    one_lab.process.kill()
    wait_until(lambda: gone(left), "end what a child has left behind", 10)


@pytest.mark.parametrize("who", ["reader", "segmenter"])
def test_what_a_child_starts_is_gone_when_the_lab_has_stopped(
    one_lab: AttackedLab, who: str, tmp_path: Path
) -> None:
    left = one_lab.ask(who, "leaves", str(tmp_path / "left"))
    assert one_lab.process.stdin is not None
    one_lab.process.stdin.close()
    assert one_lab.process.wait(PATIENCE) == 0
    wait_until(lambda: gone(left), "end what a child has left behind", 10)


def test_a_program_that_may_be_looked_into_would_have_been(tmp_path: Path) -> None:
    """What the attacks find where nothing is in their way."""
    from tests import child_attack

    given = {**child_environment(), "PASSWORD_OF_NOBODY": BEGIN + END}
    with subprocess.Popen(("sleep", "60"), env=given) as victim:
        try:
            assert f"environ of {victim.pid}" in child_attack.secrets(BEGIN, END, [victim.pid])
            assert f"memory of {victim.pid}" in child_attack.secrets(BEGIN, END, [victim.pid])
            assert f"mem of {victim.pid}" in child_attack.looks_into([victim.pid])
            assert f"signal to process {victim.pid}" in child_attack.signals([victim.pid])
        finally:
            os.kill(victim.pid, 9)
