"""The manual run: four series by their Orthanc ids, without a broker."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from pydicom import dcmread

from infra.local.orthanc import OrthancNode
from infra.local.settings import child_environment
from messages.identity import primary_instance_uid
from tests.integration.forked import Done, Run, run_all
from tests.integration.lab import (
    HeldBundle,
    StoredStudy,
    orthanc_get,
    store_small_study,
    stored_objects,
)

UNKNOWN = "01234567-89abcdef-01234567-89abcdef-01234567"


@dataclass(frozen=True)
class Runs:
    """All runs, made one after the other, and what they left."""

    ends: dict[str, Done]
    files: Path
    archive: OrthancNode
    study: StoredStudy

    def figures(self, name: str) -> dict[str, object]:
        end = self.ends[name]
        assert end.status == 0, end.output
        return json.loads(end.output[end.output.index("{\n") :])


@pytest.fixture(scope="module")
def runs(orthanc: OrthancNode, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("infer")
    study, other = store_small_study(orthanc), store_small_study(orthanc)
    ids = [item.series_id for item in study.inputs]
    settings = {
        "ORTHANC_URL": orthanc.url,
        "ORTHANC_USER": orthanc.user,
        "ORTHANC_PASSWORD": orthanc.password,
        "MODEL_PATH": str(HeldBundle(folder).path),
        "LOG_FORMAT": "text",
    }

    def run(*arguments: str, **changes: str) -> Run:
        return Run(("infer", *arguments), child_environment({**settings, **changes}))

    ends = run_all(
        "consumer.__main__:main",
        {
            "kept": run(
                "--series-ids", *ids, "--device", "cpu", "--threshold", "0.4", "--output",
                str(folder / "out"),
            ),
            "uploaded": run("--upload", "--series-ids", *ids),
            "three series": run("--series-ids", *ids[:3]),
            "no Orthanc id": run("--series-ids", *ids[:3], "../../system"),
            "unknown series": run("--series-ids", *ids[:3], UNKNOWN),
            "two studies": run("--series-ids", *ids[:3], other.inputs[3].series_id),
            "unknown model": run("--model", "nothing", "--series-ids", *ids),
            "wrong threshold": run("--threshold", "1.5", "--series-ids", *ids),
            "archive down": run("--series-ids", *ids, ORTHANC_URL="http://127.0.0.1:1"),
        },
        load=("consumer.__main__",),
    )  # fmt: skip
    return Runs(ends, folder / "out", orthanc, study)


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


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("three series", "model held takes 4 series (pre, post1, post2, last), and 3 were given"),
        ("no Orthanc id", "--series-ids takes the identifiers that Orthanc shows"),
        ("unknown series", f"the archive has no series {UNKNOWN}"),
        ("two studies", "the series belong to different studies"),
        ("unknown model", "MODEL_PATH holds no model nothing, but held"),
        ("wrong threshold", "THRESHOLD is not usable"),
        ("archive down", "the archive cannot be reached"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(runs: Runs, name: str, sentence: str) -> None:
    end = runs.ends[name]
    assert end.status == 1
    assert "Traceback" not in end.output
    assert sentence in end.output.splitlines()[-1], end.output
