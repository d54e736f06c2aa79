"""Looking up and deleting: what Orthanc may answer instead, and what never enters a URL."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from messages.identity import key_series_uid, primary_instance_uid
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable, InstanceNotFound, NotAnOrthancId
from web.orthanc.objects import remove_objects

ID = "-".join(["0123abcd"] * 5)
STUDY_UID = "2.25.7"
STUDY = "-".join(["89abcdef"] * 5)


def orthanc(answer) -> Orthanc:
    return Orthanc("http://archive.invalid", "web", "secret", transport=httpx.MockTransport(answer))


def test_a_lookup_sends_the_bare_uid_and_takes_instances_only():
    uid, asked = primary_instance_uid(uuid4()), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.content.decode()))
        found = [{"ID": STUDY, "Type": "Study"}, {"ID": ID, "Type": "Instance"}]
        return httpx.Response(200, json=found)

    assert orthanc(answer).instances_with(uid) == [ID]
    assert asked == [("POST", "/tools/lookup", uid)]


@pytest.mark.parametrize(
    "found",
    [{"a": 1}, ["x"], [{"Type": "Instance"}], [{"ID": "../system", "Type": "Instance"}], 7, None],
)
def test_a_lookup_that_answers_something_else_is_an_archive_that_cannot_be_asked(found):
    with pytest.raises(ArchiveUnavailable):
        orthanc(lambda _: httpx.Response(200, json=found)).instances_with("2.25.1")


@pytest.mark.parametrize("described", [{}, [], {"MainDicomTags": None}, {"MainDicomTags": {}}])
def test_an_instance_without_its_study_is_an_archive_that_cannot_be_asked(described):
    with pytest.raises(ArchiveUnavailable):
        orthanc(lambda _: httpx.Response(200, json=described)).study_of(ID)


def test_only_an_id_enters_the_url_of_a_delete_and_404_says_that_it_was_gone():
    with pytest.raises(NotAnOrthancId):
        orthanc(lambda _: httpx.Response(200)).delete_instance("../system")
    with pytest.raises(InstanceNotFound):
        orthanc(lambda _: httpx.Response(404)).delete_instance(ID)


@pytest.mark.parametrize("gone_at", ["GET", "DELETE"])
def test_what_goes_away_while_it_is_removed_is_no_error(gone_at):
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tools/lookup":
            return httpx.Response(200, json=[{"ID": ID, "Type": "Instance"}])
        if request.method == gone_at:
            return httpx.Response(404)
        return httpx.Response(200, json={"MainDicomTags": {"StudyInstanceUID": STUDY_UID}})

    assert remove_objects(uuid4(), STUDY_UID, orthanc(answer)) == 0


def test_an_object_of_another_study_is_never_deleted():
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.method != "DELETE"
        if request.url.path == "/tools/lookup":
            return httpx.Response(200, json=[{"ID": ID, "Type": "Instance"}])
        return httpx.Response(200, json={"MainDicomTags": {"StudyInstanceUID": STUDY_UID}})

    assert remove_objects(uuid4(), "2.25.8", orthanc(answer)) == 0


def test_every_key_slice_is_removed_however_many_there_are():
    request_id, deleted = uuid4(), []
    ids = ["-".join([f"0123abc{n}"] * 5) for n in range(3)]

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/tools/lookup":
            asked = request.content.decode()
            found = [{"ID": STUDY, "Type": "Series"}] if asked == key_series_uid(request_id) else []
            return httpx.Response(200, json=found)
        if path == f"/series/{STUDY}":
            return httpx.Response(200, json={"Instances": ids})
        if request.method == "DELETE":
            deleted.append(path.removeprefix("/instances/"))
            return httpx.Response(200)
        return httpx.Response(200, json={"MainDicomTags": {"StudyInstanceUID": STUDY_UID}})

    assert remove_objects(request_id, STUDY_UID, orthanc(answer)) == 3
    assert deleted == ids


@pytest.mark.parametrize("described", [{}, [], {"Instances": ["../system"]}, {"Instances": None}])
def test_a_series_without_its_instances_is_an_archive_that_cannot_be_asked(described):
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tools/lookup":
            return httpx.Response(200, json=[{"ID": STUDY, "Type": "Series"}])
        return httpx.Response(200, json=described)

    with pytest.raises(ArchiveUnavailable):
        orthanc(answer).instances_of_series("2.25.1")


def test_a_series_that_went_away_has_no_instances():
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tools/lookup":
            return httpx.Response(200, json=[{"ID": STUDY, "Type": "Series"}])
        return httpx.Response(404)

    assert orthanc(answer).instances_of_series("2.25.1") == []
