"""A lab's file: one lab of a name, and what a drain sees of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer.liveness.presence import (
    DrainFailed,
    Presence,
    PresenceError,
    PresenceRecord,
    drain,
    find_lab,
)
from infra.local.settings import REPOSITORY

#: A process with a lab's file that ends when it is told to drain, with as much left in hand.
LAB = """
import signal, sys
from pathlib import Path
from consumer.liveness.presence import Presence
with Presence(Path(sys.argv[1]), "lab1") as presence:
    # Held back until it is waited for: it may come before that.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    presence.record(2)
    print("here", flush=True)
    signal.sigwait([signal.SIGUSR1])
    presence.record(int(sys.argv[2]))
"""


@contextmanager
def other_lab(directory: Path, leaves: int = 0) -> Iterator[int]:
    process = subprocess.Popen(
        (sys.executable, "-c", LAB, str(directory), str(leaves)),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_second_lab_of_the_same_name_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with other_lab(tmp_path):
        with pytest.raises(PresenceError, match="A lab named lab1 runs on this machine already"):
            Presence(tmp_path, "lab1")
        with Presence(tmp_path, "lab2"):
            pass
    with Presence(tmp_path, "lab1") as presence:
        presence.record(12)
        presence.record(3)
    assert find_lab(tmp_path, "lab1") == PresenceRecord(pid=None, in_hand=3)


def test_what_runs_is_seen_with_its_process_and_what_it_has_in_hand(tmp_path: Path) -> None:
    assert find_lab(tmp_path, "lab1") is None
    with other_lab(tmp_path) as pid:
        assert find_lab(tmp_path, "lab1") == PresenceRecord(pid, in_hand=2)


def test_a_killed_lab_is_gone_at_once(tmp_path: Path) -> None:
    with other_lab(tmp_path):
        pass
    assert find_lab(tmp_path, "lab1") == PresenceRecord(pid=None, in_hand=2)


def test_a_drain_says_how_much_is_in_hand_and_ends_with_the_lab(tmp_path: Path) -> None:
    said: list[str] = []
    with other_lab(tmp_path):
        drain(tmp_path, "lab1", say=said.append)
    assert said == ["lab1 takes no more; in hand: 2", "lab1 has ended"]


def test_a_lab_that_ends_before_it_is_done_is_no_success(tmp_path: Path) -> None:
    with other_lab(tmp_path, leaves=1), pytest.raises(DrainFailed, match="ended with 1 in hand"):
        drain(tmp_path, "lab1", say=lambda _: None)


def test_without_a_lab_a_drain_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DrainFailed, match="No lab named lab1 runs on this machine"):
        drain(tmp_path, "lab1", say=lambda _: None)


def test_a_file_of_somebody_else_or_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mri-consumer-lab1").write_text("something")
    with pytest.raises(DrainFailed, match="is not the file of a lab"):
        drain(tmp_path, "lab1", say=lambda _: None)
    (tmp_path / "mri-consumer-lab2").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PresenceError, match="cannot be written"):
        Presence(tmp_path, "lab2")
    assert not (tmp_path / "elsewhere").exists()
