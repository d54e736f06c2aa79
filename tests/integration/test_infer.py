"""The manual run: series by their Orthanc ids, without a broker."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from pydicom import dcmread

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from infra.local.settings import REPOSITORY, child_environment
from messages.identity import primary_instance_uid
from tests.dicom_factory import Series, part10
from tests.integration.forked import Done, Run, run_all
from tests.integration.lab import (
    HeldBundle,
    StoredStudy,
    orthanc_get,
    orthanc_post,
    store_small_study,
    stored_objects,
)
from tests.marked import Mark

UNKNOWN = "01234567-89abcdef-01234567-89abcdef-01234567"

#: Acquisition times of the phases inside one series.
TIMES = ("101500", "101630", "101800", "101930", "102100")


def store_phases_in_one_series(archive: OrthancNode, *keywords: str) -> str:
    """Five phases of 6 x 16 x 16 in one series; a block takes up contrast after the first.

    The phases differ in `keywords` alone. Returns Orthanc's id of the series.
    """
    first = Series(rows=16, columns=16)
    series_id = ""
    for phase, time in enumerate(TIMES):
        pixels = np.full((6, 16, 16), 100, np.uint16)
        pixels[2:4, 5:9, 6:10] += 200 * phase
        part = Series(
            rows=16,
            columns=16,
            study_uid=first.study_uid,
            series_uid=first.series_uid,
            frame_uid=first.frame_uid,
            pixels=pixels,
        )
        for ds in part.datasets:
            ds.InstanceNumber = 6 * phase + ds.InstanceNumber
            if "AcquisitionTime" in keywords:
                ds.AcquisitionTime = time
            if "TemporalPositionIdentifier" in keywords:
                ds.TemporalPositionIdentifier = phase + 1
            if "NumberOfTemporalPositions" in keywords:
                ds.NumberOfTemporalPositions = len(TIMES)
            series_id = orthanc_post(archive, "/instances", part10(ds))["ParentSeries"]
    return series_id


@dataclass(frozen=True)
class Runs:
    """All runs, made one after the other, and what they left."""

    ends: dict[str, Done]
    files: Path
    archive: OrthancNode
    study: StoredStudy
    #: Orthanc ids: five phases by position and time, by time alone, and by nothing.
    positioned: str
    timed: str
    mixed: str

    def figures(self, name: str) -> dict[str, object]:
        end = self.ends[name]
        assert end.status == 0, end.output
        return json.loads(end.output[end.output.index("{\n") :])


@pytest.fixture(scope="module")
def runs(orthanc: OrthancNode, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("infer")
    study, other = store_small_study(orthanc), store_small_study(orthanc)
    maps = store_small_study(orthanc, mixed=True)
    positioned = store_phases_in_one_series(
        orthanc, "TemporalPositionIdentifier", "AcquisitionTime"
    )
    timed = store_phases_in_one_series(orthanc, "AcquisitionTime")
    mixed = store_phases_in_one_series(orthanc)
    numbered = store_phases_in_one_series(orthanc, "NumberOfTemporalPositions")
    ids = [item.series_id for item in study.inputs]
    settings = settings_for(orthanc, HeldBundle(folder))

    def run(*arguments: str, **changes: str) -> Run:
        return Run(("infer", *arguments), child_environment({**settings, **changes}))

    by_hand = [
        argument
        for role, time in zip(("pre", "post1", "post2", "last"), TIMES[1:], strict=True)
        for argument in ("--phase", f"{role}=AcquisitionTime:{time}")
    ]

    ends = run_all(
        "consumer.__main__:main",
        {
            "kept": run(
                "--series-ids", *ids, "--device", "cpu", "--threshold", "0.4", "--no-upload",
                "--out", str(folder / "out"),
            ),
            "uploaded": run("--series-ids", *ids),
            "one series": run(
                "--series-ids", positioned, "--table", "--no-upload", "--out", str(folder / "out")
            ),
            "by number": run(
                "--series-ids", numbered, "--table", "--no-upload", "--out", str(folder / "out")
            ),
            # The option's older name, and without --no-upload.
            "by hand": run("--series-ids", timed, *by_hand, "--output", str(folder / "out")),
            "not told apart": run("--series-ids", mixed),
            "no such phase": run(
                "--series-ids", timed, *by_hand[:-1], "last=AcquisitionTime:235959"
            ),
            "three series": run("--series-ids", *ids[:3]),
            "no Orthanc id": run("--series-ids", *ids[:3], "../../system"),
            "unknown series": run("--series-ids", *ids[:3], UNKNOWN),
            "two studies": run("--series-ids", *ids[:3], other.inputs[3].series_id),
            "unknown model": run("--model", "nothing", "--series-ids", *ids),
            "wrong threshold": run("--threshold", "1.5", "--series-ids", *ids),
            "phase maps": run("--series-ids", *(item.series_id for item in maps.inputs)),
            "archive down": run("--series-ids", *ids, ORTHANC_URL="http://127.0.0.1:1"),
            "no option": run("--series-id", *ids),
        },
        load=("consumer.__main__",),
    )  # fmt: skip
    return Runs(ends, folder / "out", orthanc, study, positioned, timed, mixed)


def settings_for(archive: OrthancNode, bundle: HeldBundle) -> dict[str, str]:
    return {
        "ORTHANC_URL": archive.url,
        "ORTHANC_USER": archive.user,
        "ORTHANC_PASSWORD": archive.password,
        "MODEL_PATH": str(bundle.path),
        "LOG_FORMAT": "text",
    }


def test_the_result_is_written_into_the_folder_and_its_figures_are_printed(runs: Runs) -> None:
    figures = runs.figures("kept")
    assert figures["tumor_detected"] is True
    assert figures["volume_voxels"] == 2 * 4 * 4
    files = figures["files"]
    assert isinstance(files, dict)
    seg, report = dcmread(files["seg"]), dcmread(files["sr"])
    assert (seg.Modality, report.Modality) == ("SEG", "SR")
    assert {Path(name).parent for name in files.values()} == {runs.files}
    assert stat.S_IMODE(Path(files["seg"]).stat().st_mode) == 0o600


def test_an_uploaded_result_is_one_of_its_own(runs: Runs) -> None:
    kept, uploaded = runs.figures("kept"), runs.figures("uploaded")
    assert kept["request_id"] != uploaded["request_id"]
    assert uploaded["volume_voxels"] == kept["volume_voxels"]
    assert "files" not in uploaded
    # What was only written into a folder is not in the archive.
    assert stored_objects(runs.archive, runs.study) == {"SEG": 1, "SR": 1}
    stored = orthanc_get(runs.archive, f"/instances/{uploaded['seg_instance_id']}/simplified-tags")
    assert stored["Modality"] == "SEG"


def test_what_is_written_carries_the_uid_of_its_request(runs: Runs) -> None:
    figures = runs.figures("kept")
    files = figures["files"]
    assert isinstance(files, dict)
    written = dcmread(files["seg"])
    assert written.SOPInstanceUID == primary_instance_uid(UUID(str(figures["request_id"])))


def test_what_goes_on_is_one_plain_line_each_where_there_is_no_terminal(runs: Runs) -> None:
    lines = runs.ends["kept"].output.split("{\n")[0].splitlines()
    told = [line for line in lines if not line.startswith(("series ", "pre:", "post", "last:"))]
    assert told == [
        "looking at the series",
        "loading the model",
        *(f"downloading {done} of 24 instances" for done in (0, 6, 12, 18, 24)),
        "reading",
        "inferring",
        "packaging",
        "keeping the result",
        "verifying",
        "keeping the report",
    ]


def test_phases_in_one_series_are_found_and_each_choice_is_told_with_its_reason(
    runs: Runs,
) -> None:
    end = runs.ends["one series"]
    assert end.status == 0, end.output
    assert "5 phases by TemporalPositionIdentifier: 1, 2, 3, 4, 5" in end.output
    for line in (
        "pre: series 1, TemporalPositionIdentifier 1: phase 1 of 5 in time order",
        "post1: series 1, TemporalPositionIdentifier 2: phase 2 of 5 in time order, 90 s",
        "post2: series 1, TemporalPositionIdentifier 3: phase 3 of 5 in time order, 180 s",
        "last: series 1, TemporalPositionIdentifier 5: the last of 5 phases, 360 s",
    ):
        assert line in end.output
    # 32 voxels of 2.5 x 0.8 x 0.6 mm.
    assert "0.04 ml, 32 voxels" in end.output
    assert "{" not in end.output


def test_phases_that_only_their_numbers_tell_apart_are_analysed_with_a_doubt(runs: Runs) -> None:
    end = runs.ends["by number"]
    assert end.status == 0, end.output
    assert "5 phases by InstanceNumber: 1:5, 2:5, 3:5, 4:5, 5:5" in end.output
    for role, value in (("pre", "1:5"), ("post1", "2:5"), ("post2", "3:5"), ("last", "5:5")):
        assert f"{role}: series 1, InstanceNumber {value}" in end.output
        assert f"only the numbering of the images tells {role} apart" in end.output
    assert "0.04 ml, 32 voxels" in end.output


def test_phases_said_by_hand_are_the_ones_that_are_analysed(runs: Runs) -> None:
    figures = runs.figures("by hand")
    inputs = figures["inputs"]
    assert isinstance(inputs, list)
    assert [(one["role"], one["phase"]["value"], one["why"]) for one in inputs] == [
        (role, time, "by hand")
        for role, time in zip(("pre", "post1", "post2", "last"), TIMES[1:], strict=True)
    ]
    assert figures["volume_voxels"] == 2 * 4 * 4


def test_the_older_name_of_the_folder_still_means_files_and_nothing_stored(runs: Runs) -> None:
    figures = runs.figures("by hand")
    assert set(figures["files"]) == {"seg", "sr"}  # type: ignore[call-overload]
    study = orthanc_get(runs.archive, f"/series/{runs.timed}/study")
    assert len(study["Series"]) == 1


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        (
            "three series",
            3,
            "wrong_phase_count: the model takes 4 series (pre, post1, post2, last)",
        ),
        ("not told apart", 3, "wrong_phase_count: "),
        ("no such phase", 3, "wrong_phase_count: no image of series 1 has the AcquisitionTime"),
        ("no Orthanc id", 2, "usage: --series-ids takes the identifiers that Orthanc shows"),
        ("unknown series", 3, f"series_not_found: the archive has no series {UNKNOWN}"),
        ("two studies", 2, "usage: the series belong to different studies"),
        ("unknown model", 3, "model_unavailable: MODEL_PATH holds no model nothing, but held"),
        ("wrong threshold", 2, "settings: The setting THRESHOLD is not usable"),
        (
            "phase maps",
            3,
            "mixed_phase: slice 4 of post1 has another ImageType than the others",
        ),
        ("archive down", 4, "archive_unavailable: the archive cannot be reached"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_with_its_code(
    runs: Runs, name: str, status: int, sentence: str
) -> None:
    end = runs.ends[name]
    assert end.status == status, end.output
    assert "Traceback" not in end.output
    assert sentence in end.output.splitlines()[-1], end.output


def test_an_option_that_does_not_exist_ends_like_every_wrong_option(runs: Runs) -> None:
    assert runs.ends["no option"].status == 2


@contextmanager
def running(archive: OrthancNode, bundle: HeldBundle, *arguments: str) -> Iterator[Manual]:
    """A run by hand in a process of its own, ended with the block."""
    mark = Mark()
    environment = child_environment({**settings_for(archive, bundle), **mark.environment})
    process = subprocess.Popen(
        (sys.executable, "-m", "consumer", "infer", *arguments),
        env=environment,
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Manual(process, mark)
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Manual:
    process: subprocess.Popen[str]
    mark: Mark

    def processes(self) -> list[int]:
        """Every living process of the run, but for the command itself."""
        return [pid for pid in self.mark.processes() if pid != self.process.pid]


def test_control_c_ends_an_inference_and_leaves_no_process_no_file_and_no_result(
    orthanc: OrthancNode, tmp_path: Path
) -> None:
    study = store_small_study(orthanc)
    bundle = HeldBundle(tmp_path)
    bundle.hold()
    ids = [item.series_id for item in study.inputs]
    with running(orthanc, bundle, "--series-ids", *ids, "--out", str(tmp_path / "out")) as run:
        wait_until(lambda: bundle.inferences == 1, "infer", 120)
        assert len(run.processes()) >= 4, "two children, each with its keeper"
        run.process.send_signal(signal.SIGINT)
        output, _ = run.process.communicate(timeout=30)
        assert run.process.returncode == 128 + signal.SIGINT, output
        wait_until(lambda: run.processes() == [], "leave no process", 30)
    assert "Traceback" not in output
    assert output.splitlines()[-1] == (
        "mri-consumer: cancelled: stopped before anything was stored"
    )
    assert list((tmp_path / "out").iterdir()) == []
    assert stored_objects(orthanc, study) == {}
