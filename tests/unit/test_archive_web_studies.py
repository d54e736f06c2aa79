"""Studies and series as Orthanc tells them, and what a reader sees of them."""

from __future__ import annotations

from datetime import date

import httpx
import pytest

from messages.phases.times import seconds_from
from web.orthanc.archive import Orthanc
from web.phases.studies import as_date, readable_name, studies, study_detail

STUDY = "-".join(["0123abcd"] * 5)


def series(number: str, modality: str, instances: list[str]) -> dict:
    return {
        "ID": f"series-{number}",
        "Instances": instances,
        "MainDicomTags": {
            "SeriesInstanceUID": f"1.2.{number}",
            "Modality": modality,
            "SeriesNumber": number,
            "SeriesDescription": f"series {number}",
        },
    }


def test_a_study_takes_two_calls_and_two_for_each_mr_series_until_it_changes():
    instance = "-".join(["aaaaaaaa"] * 5)
    asked = []
    changed = ["20260102T101500"]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        match request.url.path.rsplit("/", 1)[-1]:
            case "series":
                mr = series("10", "MR", [instance, "y"]) | {
                    "ID": instance,
                    "LastUpdate": changed[0],
                }
                body = [series("900", "SEG", ["x"]), mr]
            case "instances":
                tags = {"ImagePositionPatient": "0\\0\\0", "InstanceNumber": "1"}
                first = {"ID": instance, "MainDicomTags": {"SOPInstanceUID": "1.2.3", **tags}}
                tags = {"ImagePositionPatient": "0\\0\\2", "InstanceNumber": "2"}
                body = [first, {"ID": "y", "MainDicomTags": {"SOPInstanceUID": "1.2.4", **tags}}]
            case "simplified-tags":
                body = {"AcquisitionTime": "090130.5", "ImageType": "ORIGINAL\\PRIMARY"}
            case _:
                body = {
                    "ID": STUDY,
                    "MainDicomTags": {"StudyInstanceUID": "1.2", "StudyDate": "20260914"},
                    "PatientMainDicomTags": {"PatientName": "KIM^YEONGHUI", "PatientID": "P-1"},
                }
        return httpx.Response(200, json=body)

    orthanc = Orthanc("http://a.invalid", "u", "p", transport=httpx.MockTransport(answer))
    study = study_detail(STUDY, orthanc=orthanc)

    assert len(asked) == 4
    assert [item.number for item in study.series] == [10, 900]
    first = study.series[0]
    assert first.acquired_at_s == 9 * 3600 + 90.5
    assert first.facts.image_type == ("ORIGINAL", "PRIMARY")
    assert first.facts.instance_count == first.image_count == 2
    assert study.series[1].acquired_at_s is None

    study_detail(STUDY, orthanc=orthanc)
    assert len(asked) == 6
    changed[0] = "20260102T101530"
    study_detail(STUDY, orthanc=orthanc)
    assert len(asked) == 10


def test_the_list_is_newest_first_although_orthanc_does_not_sort():
    def item(name: str, day: str) -> dict:
        return {
            "ID": name,
            "LastUpdate": "",
            "Series": [],
            "MainDicomTags": {"StudyDate": day, "StudyTime": "1000"},
            "PatientMainDicomTags": {},
        }

    found = [item("old", "20200101"), item("new", "20260914"), item("no date", "")]
    orthanc = Orthanc(
        "http://a.invalid",
        "u",
        "p",
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=found)),
    )

    assert [study.study_id for study in studies(2, orthanc=orthanc)] == ["new", "old"]


@pytest.mark.parametrize(
    ("dicom", "shown"),
    [
        ("KIM^YEONGHUI", "KIM YEONGHUI"),
        ("Kim^Yeonghui=金^英姬=김^영희", "김영희"),
        ("김^영희", "김영희"),
        ("Doe^Jane^Q^^", "Doe Jane Q"),
        ("", ""),
        ("^^", ""),
    ],
)
def test_a_name_is_shown_for_a_person_to_read(dicom, shown):
    assert readable_name(dicom) == shown


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("20260101", date(2026, 1, 1)),
        ("2026 101", None),
        ("2026-1-1", None),
        ("20260230", None),
        ("2026", None),
        ("", None),
        ("20260101 ", None),
        ("٢٠٢٦٠١٠١", None),
    ],
)
def test_a_date_is_eight_digits_for_the_page_and_for_the_api(text: str, found: date | None) -> None:
    assert as_date(text) == found


@pytest.mark.parametrize("text", ["2026 101", "٢٠٢٦٠١٠١", "20260230", "2026.1.1"])
def test_what_is_no_date_is_none_for_the_times_of_phases(text: str) -> None:
    # Without a date of the study no day is counted.
    assert seconds_from(text, "20260103", "101500") == seconds_from("", "", "101500")
