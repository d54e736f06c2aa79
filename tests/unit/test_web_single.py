"""A second process on the same site does not serve; one that takes over after a crash does."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from web import single
from web.single import OnlyOne, why_not_single


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "web.sqlite3.serving"
    monkeypatch.setattr(single, "lock_path", lambda: path)
    return path


def test_the_second_is_told_why_and_may_follow_the_first() -> None:
    first, second = OnlyOne(), OnlyOne()
    assert first.take() is None
    assert "another process serves this site already" in (second.take() or "")
    assert "another process" in (why_not_single() or "")
    first.release()
    assert why_not_single() is None
    assert second.take() is None
    second.release()


def test_a_process_that_is_killed_leaves_the_place_free() -> None:
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=keep, args=(theirs,))
    process.start()
    assert ours.recv() is None
    assert why_not_single()
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=10)
    assert why_not_single() is None


def keep(pipe: Any) -> None:
    lock = OnlyOne()
    pipe.send(lock.take())
    signal.pause()


def test_a_directory_that_cannot_be_written_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "absent" / "site.serving"
    monkeypatch.setattr(single, "lock_path", lambda: path)
    assert OnlyOne().take() == f"{path} cannot be written: No such file or directory"
