"""What the tests cost: seconds of the processor and of the clock, by file, by test and by worker.

``--timings FILE`` writes it. The processor's seconds are those of the test process and of all
processes that ended meanwhile: on a busy machine they say more than the clock. A server that stays
for further files counts in the file in which it ends.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: Seconds of the clock below which a test gets no line of its own.
SHORT = 0.5


@dataclass
class Cost:
    """Of one test, one file or one worker."""

    processor: float = 0.0
    clock: float = 0.0
    tests: int = 0

    def add(self, report: pytest.TestReport) -> None:
        self.processor += getattr(report, "processor_seconds", 0.0)
        self.clock += report.duration
        self.tests += report.when == "call"

    def line(self, name: str) -> str:
        return f"{self.processor:9.1f} {self.clock:9.1f} {self.tests:6} {name}"


class Meter:
    """In the process that runs tests: puts the processor's seconds into each report."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._spent = _processor_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, Any, Any]:
        report = yield
        spent = _processor_seconds()
        report.processor_seconds, self._spent = spent - self._spent, spent
        report.run_by = self._worker
        return report


class Account:
    """In the process that hears all reports: adds them up, and writes them at the end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began = time.time()
        self._tests: defaultdict[str, Cost] = defaultdict(Cost)
        self._files: defaultdict[str, Cost] = defaultdict(Cost)
        self._workers: defaultdict[str, Cost] = defaultdict(Cost)
        self._last: dict[str, tuple[float, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        worker = getattr(report, "run_by", "")
        self._tests[report.nodeid].add(report)
        self._files[file].add(report)
        self._workers[worker].add(report)
        self._last[worker] = (report.stop - self._began, file)

    def pytest_sessionfinish(self) -> None:
        long = {name: cost for name, cost in self._tests.items() if cost.clock >= SHORT}
        ended = [
            f"{worker} ended after {after:.0f} s with {file}"
            for worker, (after, file) in sorted(self._last.items())
        ]
        lines = ["processor     clock  tests, in seconds", *_lines(self._workers), *ended]
        lines += ["", *_lines(self._files), "", *_lines(long)]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def register(config: pytest.Config) -> None:
    """Count where it is asked for."""
    if not (file := config.getoption("--timings")):
        return
    worker = getattr(config, "workerinput", None)
    config.pluginmanager.register(Meter(worker["workerid"] if worker else "alone"))
    if not worker:
        config.pluginmanager.register(Account(Path(file)))


def _lines(costs: dict[str, Cost]) -> list[str]:
    dearest = sorted(costs.items(), key=lambda item: -item[1].processor)
    return [cost.line(name) for name, cost in dearest]


def _processor_seconds() -> float:
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system
