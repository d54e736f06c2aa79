"""Twenty seconds of ``make fuzz``; ten minutes find more, and are run by hand."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import numpy as np

from consumer.children import reader
from consumer.memory import MemoryFile
from infra.local.settings import REPOSITORY
from tests.bad_inputs.study import PLANTED
from tests.fuzz.trials import bases, changed_study, tried, working
from tests.fuzz.values import wrong_values


def test_the_good_studies_of_the_fuzzer_are_read_or_refused_for_what_they_are() -> None:
    with working() as bench:
        ends = [tried(bench, study) for study in bases()]
    assert not [end.text for end in ends if end.finding]
    # Otherwise the trials would change files that nobody gets far with.
    assert sum(end.text == "read" for end in ends) >= 12, [end.text for end in ends]


def test_a_trial_is_the_same_whenever_it_is_run() -> None:
    assert changed_study(Random("7:11")) == changed_study(Random("7:11"))


def test_hostile_files_at_random_find_nothing() -> None:
    command = (sys.executable, "-m", "tests.fuzz", "--minutes", "0.33", "--seed", "20260102")
    run = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert not [value for value in PLANTED if value in run.stdout + run.stderr]


def test_a_trial_that_is_read_wrong_is_a_finding() -> None:
    study = bases()[0]
    with study.downloaded() as source, MemoryFile() as volumes:
        header = reader.read_phases(source, volumes.path)
        assert wrong_values(study, header, volumes) == ""
        volume = open_for_writing(volumes.path, header.shape)
        volume[1, 2, 3, 4] += 1
        assert "other values" in wrong_values(study, header, volumes)
        volume[0, 0, 0, 0] = np.nan
        assert "no number" in wrong_values(study, header, volumes)


def open_for_writing(path: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, dtype=np.float32, mode="r+", shape=shape)
