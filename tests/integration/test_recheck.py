"""`mri-web recheck` lists what would now be refused, and writes nothing but its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from infra.local.orthanc import OrthancNode
from tests.dicom_factory import Series
from tests.integration.followed import Followed
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
    elsewhere = study.result(study_uid="1.2.3")
    assert recheck("--format", "json") == 1
    told = {one["request_id"]: one for one in json.loads(capsys.readouterr().out)}
    assert str(good.pk) not in told
    assert told[str(wrong.pk)]["code"] == "phases_out_of_order"
    assert told[str(wrong.pk)]["sentence"]
    assert told[str(elsewhere.pk)]["code"] == "result_misfiled"
    study.delete_instance(study.pre, 0)
    assert recheck("--format", "csv") == 1
    assert f"{good.pk}," in capsys.readouterr().out


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
