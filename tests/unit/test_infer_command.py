"""How a run by hand is asked for, interrupted and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.bundle import BundleInvalid
from consumer.errors import (
    ArchiveUnavailable,
    GeometryMismatch,
    LabError,
    LabStopping,
    RequestCancelled,
)
from consumer.manual.command import destination
from consumer.manual.exit import Interrupted, Interrupts, end_of
from consumer.manual.local_result import prepare_folder
from consumer.manual.options import CannotInfer
from consumer.settings import SettingsInvalid
from infra.local.settings import REPOSITORY

FOLDER = Path("results")


@pytest.mark.parametrize(
    ("upload", "out", "output", "expected"),
    [
        (None, None, None, (True, None)),
        (None, FOLDER, None, (True, FOLDER)),
        (False, FOLDER, None, (False, FOLDER)),
        (False, None, None, (False, Path())),
        # As it was written before: --output alone stored nothing, --upload stored.
        (None, None, FOLDER, (False, FOLDER)),
        (True, None, None, (True, None)),
        (True, None, FOLDER, (True, FOLDER)),
    ],
)
def test_a_result_is_uploaded_unless_somebody_says_no(
    upload: bool | None, out: Path | None, output: Path | None, expected: object
) -> None:
    assert destination(upload=upload, out=out, output=output) == expected


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (CannotInfer("no"), 2, "usage: no"),
        (SettingsInvalid("no"), 2, "settings: no"),
        (BundleInvalid("no"), 2, "model: no"),
        (GeometryMismatch("no"), 3, "geometry_mismatch: no"),
        (ArchiveUnavailable("no"), 4, "archive_unavailable: no"),
        (RequestCancelled("no"), 130, "cancelled: stopped before anything was stored"),
        (Interrupted(), 130, "cancelled: stopped before anything was stored"),
    ],
)
def test_each_end_has_its_status_and_its_code(
    error: BaseException, status: int, sentence: str
) -> None:
    assert end_of(error, Interrupts()) == (status, sentence)


def test_every_error_of_the_lab_has_a_status() -> None:
    for kind in (k for base in LabError.__subclasses__() for k in base.__subclasses__()):
        status, sentence = end_of(kind("no"), Interrupts())
        assert status in {3, 4}
        assert sentence == f"{kind.code.value}: no"


def test_a_fault_of_the_program_quotes_nothing(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "from consumer.manual.command import Arguments, run\n"
        "class Broken(tuple):\n"
        "    def __iter__(self):\n"
        "        raise RuntimeError('Kim^Minji')\n"
        "raise SystemExit(run(Arguments(('a',), Broken(), None, None, None, False, None, None)))\n",
        "utf-8",
    )
    done = subprocess.run(
        (sys.executable, script),
        env={"PATH": "/usr/bin", "PYTHONPATH": str(REPOSITORY), "ORTHANC_URL": "http://a.invalid"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "fault" in done.stderr
    assert "RuntimeError" in done.stderr
    assert "Kim^Minji" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_control_c_before_the_work_begins_ends_the_run_at_once() -> None:
    with Interrupts() as interrupts, pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGINT)
    assert end_of(Interrupted(), interrupts)[0] == 128 + signal.SIGINT


def test_control_c_during_the_work_is_a_cancel_and_the_second_one_a_stop() -> None:
    with Interrupts() as interrupts:
        interrupts.cancel_on_signal()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.cancelled.is_set()
        assert not interrupts.stopping.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.stopping.is_set()
    assert end_of(LabStopping("no"), interrupts)[0] == 128 + signal.SIGTERM


def test_tidying_up_after_an_interrupt_is_not_interrupted_itself() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.stopping.is_set()


def test_the_signals_are_as_they_were_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) not in before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_folder_that_cannot_be_used_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotInfer, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "below")
    with pytest.raises(CannotInfer, match="cannot be written"):
        prepare_folder(tmp_path / "file")
