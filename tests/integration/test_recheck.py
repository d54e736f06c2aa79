"""`mri-web recheck` lists what would now be refused, and writes nothing but its report."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pydicom import dcmread

from consumer.children import reader
from consumer.memory import MemoryFile
from infra.local.orthanc import OrthancNode
from messages import identity
from tests.dicom_factory import Series, index, part10, spec
from tests.integration.followed import Followed
from tests.integration.lab import orthanc_post
from tests.site import site_with, use_archive
from web.inference.models import InferenceRequest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def site(orthanc: OrthancNode, settings: Any) -> None:
    use_archive(settings, orthanc)


@pytest.fixture
def study(orthanc: OrthancNode) -> Followed:
    made = Followed(orthanc)
    made.delete(f"/series/{made.series_ids[made.post.series_uid]}")
    # Later, so that the two can be told apart.
    made.post = Series(
        slices=4, study_uid=made.pre.study_uid, frame_uid=made.pre.frame_uid, time="101700"
    )
    made.store(made.post)
    return made


def recheck(*arguments: str) -> int:
    try:
        call_command("recheck", *arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def segmentation(study: Followed, request_id: UUID) -> bytes:
    """What a lab stores of a request of both phases."""
    about = spec(
        request_id=str(request_id),
        primary_series_uid=identity.primary_series_uid(request_id),
        primary_instance_uid=identity.primary_instance_uid(request_id),
    )
    with MemoryFile() as memory, MemoryFile() as marks:
        source = index(memory, pre=study.pre, post1=study.post)
        first = study.pre.datasets[0]
        mask = np.zeros((len(study.pre.datasets), first.Rows, first.Columns), np.uint8)
        mask[1:3, 2:5, 3:7] = 1
        marks.write(mask.tobytes())
        return reader.package(source, marks.path, mask.shape, about).dicom_bytes


def lines(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text("utf-8").splitlines()]


def test_a_result_that_is_as_it_should_be_is_not_listed(
    study: Followed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = study.result()
    before = InferenceRequest.objects.values().get(pk=row.pk)
    report = tmp_path / "report"
    assert recheck("--report", str(report)) == 0
    assert capsys.readouterr().out == ""
    (line,) = lines(report)
    assert (line["input_state"], line["result_state"], line["code"]) == ("same", "stored", "")
    assert InferenceRequest.objects.values().get(pk=row.pk) == before, "read-only"


def test_what_would_be_refused_now_or_has_changed_is_listed(
    study: Followed, capsys: pytest.CaptureFixture[str]
) -> None:
    good = study.result()
    wrong = study.result()
    # As an older version took it: the phases in the wrong order.
    wrong.inputs = [
        {**item, "role": role} for item, role in zip(wrong.inputs, ("post1", "pre"), strict=True)
    ][::-1]
    wrong.save()
    assert recheck("--format", "json") == 1
    told = {one["request_id"]: one for one in json.loads(capsys.readouterr().out)}
    assert str(good.pk) not in told
    assert told[str(wrong.pk)]["code"] == "phases_out_of_order"
    assert told[str(wrong.pk)]["sentence"]
    study.delete_instance(study.pre, 0)
    assert recheck("--format", "csv") == 1
    assert f"{good.pk}," in capsys.readouterr().out


def test_a_result_that_lies_under_another_patients_number_is_misfiled(
    study: Followed, orthanc: OrthancNode, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its study has the same UID: only the archive's ids tell the two apart."""
    request_id = uuid4()
    seg = dcmread(BytesIO(segmentation(study, request_id)))
    seg.PatientID = "T-2"
    filed = orthanc_post(orthanc, "/instances", part10(seg))
    assert filed["ParentStudy"] != study.study_id
    row = study.result(id=request_id)
    assert row.result is not None
    row.result |= {"seg_instance_id": filed["ID"], "sr_instance_id": filed["ID"]}
    row.save()
    assert recheck("--format", "json") == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["result_state"], told["code"]) == ("stored", "result_misfiled")
    study.delete(f"/instances/{filed['ID']}")


def test_one_result_that_is_not_answered_keeps_no_other_from_its_look(
    study: Followed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd, damaged, good = study.result(), study.result(), study.result()
    # No id of the archive's, and a row that another version wrote.
    assert odd.result is not None
    odd.result["seg_instance_id"] = "not an id"
    odd.save()
    damaged.result = {"seg_instance_id": None}
    damaged.save()
    report = tmp_path / "report"
    assert recheck("--report", str(report)) == 2
    assert [line["request_id"] for line in lines(report)] == [str(good.pk)]
    said = capsys.readouterr().err
    assert str(odd.pk) in said
    assert str(damaged.pk) in said
    assert "could not be looked at: 2" in said


def test_it_goes_on_where_it_was_interrupted(
    study: Followed, tmp_path: Path, settings: Any, orthanc: OrthancNode
) -> None:
    rows = [study.result() for _ in range(3)]
    report = tmp_path / "report"
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    assert recheck("--report", str(report)) == 2
    assert lines(report) == []
    use_archive(settings, orthanc)
    assert recheck("--report", str(report)) == 0
    whole = report.read_bytes()
    # Killed while it wrote the last line.
    report.write_bytes(whole[:-20])
    study.delete_instance(study.pre, 0)
    assert recheck("--report", str(report)) == 1
    states = [line["input_state"] for line in lines(report)]
    assert states == ["same", "same", "fewer"], "only the last was looked at again"
    assert [line["request_id"] for line in lines(report)] == [str(row.pk) for row in rows]


def test_a_file_that_is_no_report_is_left_alone(study: Followed, tmp_path: Path) -> None:
    study.result()
    other = tmp_path / "other"
    for text in ("my notes\nof last week\n", "my notes"):
        other.write_text(text)
        with pytest.raises(CommandError, match="no report"):
            recheck("--report", str(other))
        assert other.read_text() == text
