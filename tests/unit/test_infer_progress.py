"""What the engineer sees: bars on a terminal, lines elsewhere, and the result at the end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from consumer.bundle import Bundle
from consumer.jobs.announcer import Announcer
from consumer.manual.choice import ChosenPhase
from consumer.manual.facts import ExaminedSeries
from consumer.manual.outcome import Outcome
from consumer.manual.progress import (
    KEPT_WORDS,
    WORDS,
    ArchiveWithProgress,
    ProgressBars,
    ProgressDisplay,
    ProgressLines,
    RunWithProgress,
    TerminalPublisher,
    UndeliveredRequest,
    display_on,
)
from consumer.memory import MemoryFile
from consumer.orthanc.images import ImageSeries
from consumer.payloads import LesionFacts
from consumer.stop_conditions import StopConditions
from messages.events import InferenceCompleted, InferenceProgressed, ModelReference, Stage
from messages.lab import ModelDescriptor
from messages.phases import DCE_ROLES, SeriesFacts
from messages.request import InferenceRequested, InputSeries

SERIES = "01234567-01234567-01234567-01234567-01234567"
SEG = "89abcdef-01234567-01234567-01234567-01234567"
SR = "fedcba98-01234567-01234567-01234567-01234567"


def console(*, terminal: bool, **environment: str) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=100,
        highlight=False,
        _environ={"TERM": "xterm", **environment},
    )


def written(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def run_of(display: ProgressDisplay) -> tuple[RunWithProgress, Announcer]:
    request = InferenceRequested(
        request_id=uuid4(),
        attempt=1,
        pool="lab",
        model="held",
        study_uid="1.2.3",
        inputs=(InputSeries(role="pre", series_id=SERIES, series_uid="1.2", instance_count=6),),
        deadline_s=60,
    )
    run = RunWithProgress(
        request,
        delivered=UndeliveredRequest(Event()),
        lab="manual",
        stop_conditions=StopConditions(),
        display=display,
    )
    return run, Announcer(TerminalPublisher(display), user="manual", pool="lab")


def walk(display: ProgressDisplay) -> None:
    """As `consumer.jobs.analysis` goes through a run."""
    run, announcer = run_of(display)
    told = InferenceProgressed
    announcer.publish(run.event(told, stage=Stage.DOWNLOADING, done=0, total=6))
    with run.timed("download"):
        announcer.publish(run.event(told, stage=Stage.DOWNLOADING, done=6, total=6))
    with run.timed("read"):
        pass
    announcer.publish(run.event(told, stage=Stage.INFERRING, done=0, total=1))
    with run.timed("upload"):
        pass


def test_where_there_is_no_terminal_each_part_and_each_count_is_a_line() -> None:
    to = console(terminal=False)
    with display_on(to, WORDS) as display:
        walk(display)
    assert written(to).splitlines() == [
        "downloading 0 of 6 instances",
        "downloading 6 of 6 instances",
        "reading",
        "uploading",
    ]


def test_a_run_that_stores_nothing_does_not_say_that_it_uploads() -> None:
    to = console(terminal=False)
    with display_on(to, KEPT_WORDS) as display:
        walk(display)
    assert "uploading" not in written(to)
    assert "keeping the result" in written(to)


def test_a_terminal_gets_a_bar_that_counts_the_instances() -> None:
    to = console(terminal=True)
    with display_on(to, WORDS) as display:
        assert isinstance(display, ProgressBars)
        walk(display)
        display.say("series 1: 6 instances")
    text = written(to)
    assert "6 of 6 instances" in text
    assert "series 1: 6 instances" in text
    assert "uploading" in text


class Slow:
    """An archive that sends two pieces of a series."""

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, check_stop: Callable[[], None]
    ) -> list[tuple[int, int]]:
        for _ in range(2):
            into.write(b"x" * 1_500_000)
            check_stop()
        return [(0, into.size)]


def test_a_series_that_comes_slowly_is_seen_to_grow() -> None:
    to = console(terminal=True)
    looks = []
    with display_on(to, WORDS) as display, MemoryFile() as memory:
        display.count("download", 0, 6)
        archive = ArchiveWithProgress(Slow(), display)  # type: ignore[arg-type]
        archive.download_series("1.2.3", "1.2", memory, check_stop=lambda: looks.append(1))
    assert "0 of 6 instances, 3 MB" in written(to)
    assert len(looks) == 2


def test_a_part_that_fails_is_not_shown_as_done() -> None:
    to = console(terminal=True)
    with display_on(to, WORDS) as display:
        run, _ = run_of(display)
        with pytest.raises(RuntimeError), run.timed("read"):
            raise RuntimeError
    assert "\N{CHECK MARK}" not in written(to)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    assert isinstance(display_on(console(terminal=True, TERM="dumb"), WORDS), ProgressLines)


def test_a_long_line_stays_one_line_for_whoever_searches_the_output() -> None:
    to = console(terminal=False)
    with display_on(to, WORDS) as display:
        display.say("x" * 300)
    assert written(to).splitlines() == ["x" * 300]


def outcome(*, uploaded: bool, files: dict[str, str] | None, found: bool = True) -> Outcome:
    descriptor = ModelDescriptor(
        name="held",
        version="1.2.0",
        sha256="ab" * 32,
        roles=DCE_ROLES,
        labels=("tumour",),
        notice="Not for clinical use.",
    )
    examined = ExaminedSeries(
        ImageSeries("1.2.3", "1.2", "MR", "", 30, ()), SeriesFacts(SERIES, "MR", "", 30), ()
    )
    completed = InferenceCompleted(
        request_id=UUID(int=7),
        attempt=1,
        delivery=0,
        sequence=9,
        lab="manual",
        at=datetime(2026, 11, 22, tzinfo=UTC),
        seg_instance_id=SEG if found else None,
        sr_instance_id=SR,
        tumor_detected=found,
        volume_voxels=32,
        volume_ml=0.0384,
        longest_diameter_mm=7.25,
        slices=6,
        slices_with_tumor=2,
        model=ModelReference(name="held", version="1.2.0", sha256="ab" * 32),
        stage_seconds={"download": 0.25, "infer": 4.5},
    )
    chosen = tuple(
        ChosenPhase(role, 1, examined, "TemporalPositionIdentifier", str(n), f"phase {n} of 5")
        for n, role in enumerate(DCE_ROLES, 1)
    )
    lesions = (
        LesionFacts("tumour 1", 0.03, 7.25, 6.5, 182.4, "washout", "not_determined"),
        LesionFacts("tumour 2", 0.0084, 2.5, 2.5, None, None),
    )
    return Outcome(
        completed=completed,
        lesions=lesions if found else (),
        left_out=3,
        chosen=chosen,
        bundle=Bundle(Path(), descriptor),
        device="cpu",
        threshold=0.4,
        uploaded=uploaded,
        files=files,
        curves_withheld="",
    )


def test_the_table_tells_figures_model_phases_seconds_and_place() -> None:
    to = console(terminal=False)
    outcome(uploaded=True, files={"seg": "out/7-seg.dcm", "sr": "out/7-sr.dcm"}).print_on(to)
    text = " ".join(written(to).split())
    for part in (
        "tumour found",
        "0.04 ml, 32 voxels",
        "7.2 mm",
        "2 of 6",
        "marks left out 3",
        "tumour 1 not determined 0.03 7.2 6.5 182 % washout",
        "tumour 2 - 0.01 2.5 2.5 - -",
        "held version 1.2.0",
        "ab" * 32,
        "Not for clinical use.",
        "pre 1 TemporalPositionIdentifier 1 phase 1 of 5",
        f"Series 1 {SERIES}",
        "infer 4.50",
        "in all 4.75",
        f"SEG in the archive {SEG}",
        f"SR in the archive {SR}",
        "SEG file out/7-seg.dcm",
    ):
        assert part in text, part


def test_a_table_of_what_was_kept_names_no_place_in_the_archive() -> None:
    to = console(terminal=False)
    outcome(uploaded=False, files={"sr": "out/7-sr.dcm"}, found=False).print_on(to)
    text = written(to)
    assert "not found" in text
    assert SEG not in text
    assert SR not in text
    assert "out/7-sr.dcm" in text


def test_the_figures_for_a_script_are_what_they_were_and_the_inputs_with_their_reasons() -> None:
    figures = json.loads(json.dumps(outcome(uploaded=True, files=None).figures()))
    assert figures["volume_voxels"] == 32
    assert figures["model"] == {"name": "held", "version": "1.2.0", "sha256": "ab" * 32}
    assert (figures["seg_instance_id"], figures["sr_instance_id"]) == (SEG, SR)
    assert "files" not in figures
    assert figures["inputs"][1] == {
        "role": "post1",
        "series_id": SERIES,
        "phase": {"keyword": "TemporalPositionIdentifier", "value": "2"},
        "why": "phase 2 of 5",
    }
