"""Ids are checked before they enter a URL, and no library error leaves the package."""

from __future__ import annotations

import httpx
import pytest

from web.orthanc.archive import Orthanc, checked_id
from web.orthanc.errors import (
    ArchiveUnavailable,
    InstanceNotFound,
    NotAnOrthancId,
    SeriesNotFound,
    StudyNotFound,
)
from web.phases.stack import stack_of

ID = "-".join(["0123abcd"] * 5)
OTHER = "-".join(["89abcdef"] * 5)


def orthanc(answer) -> Orthanc:
    return Orthanc("http://archive.invalid", "web", "secret", transport=httpx.MockTransport(answer))


def refuse(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"nothing may be sent: {request.url}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "../../system",
        ID + "/",
        ID + "\n",
        ID.upper(),
        ID[:-1],
        ID + "0",
        ID + "?a=b",
        "%2e",
    ],
)
def test_text_that_is_no_orthanc_id_never_enters_a_url(text):
    with pytest.raises(NotAnOrthancId):
        checked_id(text)
    with pytest.raises(NotAnOrthancId):
        orthanc(refuse).json("studies", text)


@pytest.mark.parametrize(
    ("level", "error"),
    [("studies", StudyNotFound), ("series", SeriesNotFound), ("instances", InstanceNotFound)],
)
def test_404_names_what_is_not_there(level, error):
    with pytest.raises(error):
        orthanc(lambda _: httpx.Response(404)).json(level, ID)


@pytest.mark.parametrize("status", [301, 401, 403, 500, 503])
def test_any_other_status_means_that_the_archive_is_not_available(status):
    answer = httpx.Response(status, headers={"Location": "http://elsewhere.invalid/"})
    with pytest.raises(ArchiveUnavailable):
        orthanc(lambda _: answer).json("studies", ID)


def test_a_refused_connection_means_that_the_archive_is_not_available():
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ArchiveUnavailable):
        orthanc(answer).find({})


def test_an_answer_that_is_no_json_means_that_the_archive_is_not_available():
    with pytest.raises(ArchiveUnavailable):
        orthanc(lambda _: httpx.Response(200, text="<html>")).json("studies", ID)


def test_a_series_of_another_study_is_not_found():
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/instances"):
            return httpx.Response(200, json=[])
        return httpx.Response(200, json={"ParentStudy": OTHER})

    with pytest.raises(SeriesNotFound):
        stack_of(ID, ID, orthanc=orthanc(answer))
