"""A request for series that are still arriving is held, and sent once with what has arrived."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from messages.codec import decode
from messages.phases import DCE_ROLES
from messages.request import InferenceRequested, PhaseSelector
from tests.dicom_factory import Series
from tests.integration.growing import growing
from tests.integration.lab import orthanc_post
from tests.integration.phased import by_keyword, four_phases, merged, stored
from tests.integration.system import AgeingOrthanc
from tests.integration.test_api_requests import logged_in
from tests.integration.test_web_api import REQUESTS, ask, body
from tests.site import reader_of, use_archive
from web.broker import leases
from web.inference.cancel import cancel
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State
from web.inference.submit import submit
from web.orthanc.errors import ArchiveUnavailable
from web.phases.chosen import Selection
from web.reconciler import arriving, overdue
from web.refusals import NotAsked

pytestmark = pytest.mark.django_db(transaction=True)


class Arriving:
    """A study of four phases, each a series, whose images are stored one after the other."""

    def __init__(self, node: OrthancNode, *, slices: int = 3) -> None:
        self.node = node
        self.orthanc, self.grows = growing(node)
        self.phases = four_phases()
        self._files = [phase.files() for phase in self.phases]
        self.series: list[str] = []
        for files in self._files:
            for file in files[:slices]:
                answer = orthanc_post(node, "/instances", file)
            self.study_id: str = answer["ParentStudy"]
            self.series.append(answer["ParentSeries"])
        self.grows.series = set(self.series)

    def send(self, start: int, end: int, *places: int) -> None:
        """Store these slices, of all phases or of those at the places."""
        for place in places or range(4):
            for file in self._files[place][start:end]:
                orthanc_post(self.node, "/instances", file)

    def whole(self) -> None:
        """Nothing has come for a while."""
        self.grows.series.clear()

    def ask(self, **more: Any) -> InferenceRequest:
        inputs = [
            Selection(role, series) for role, series in zip(DCE_ROLES, self.series, strict=True)
        ]
        asked = {"study_id": self.study_id, "inputs": inputs, "user": None, **more}
        return submit(**asked, orthanc=self.orthanc)

    def turn(self) -> list[UUID]:
        """What one turn of a reconciler does; the requests that changed."""
        found = [(pk, arriving.look(pk, self.orthanc)) for pk in arriving.whole(self.orthanc)]
        return [pk for pk, finding in found if finding and arriving.release(pk, finding)]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancNode]:
    """An archive that calls nothing stable as long as these tests last."""
    root = tmp_path_factory.mktemp("orthanc")
    (port,) = free_ports(1)
    node = AgeingOrthanc(root, http_port=port, user="labrelay", password="a" * 20)
    node.stable_age = 3600
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.stop()


@pytest.fixture
def study(orthanc: OrthancNode, settings: Any) -> Iterator[Arriving]:
    use_archive(settings, orthanc, waits=True)
    study = Arriving(orthanc)
    yield study
    study.orthanc.close()


def message_of(row: InferenceRequest) -> InferenceRequested:
    """The only message that there is for the request."""
    kept = Outbox.objects.get(request=row)
    message = decode(bytes(kept.body), type_=kept.type)
    assert isinstance(message, InferenceRequested)
    return message


def counts(row: InferenceRequest) -> list[int]:
    return [item.instance_count for item in message_of(row).inputs]


def taken_by_a_relay(row: InferenceRequest) -> bool:
    """Whether a relay may have the request's message, by either of its ways."""
    rows = Outbox.objects.filter(request=row)
    fresh = leases.take_fresh(uuid4(), list(rows))
    return bool(fresh) or any(one.request_id == row.pk for one in leases.take(uuid4(), 1000))


def test_what_is_still_arriving_is_taken_and_not_sent(study: Arriving) -> None:
    row = study.ask()
    assert (row.state, row.held_for) == (State.QUEUED, "series_arriving")
    assert not taken_by_a_relay(row)
    assert not Outbox.objects.get(request=row).attempted
    assert study.turn() == []
    assert not taken_by_a_relay(row)


def test_it_is_sent_once_with_all_that_has_arrived(study: Arriving) -> None:
    row = study.ask()
    study.send(3, 5)
    study.whole()
    assert study.turn() == [row.pk]
    assert study.turn() == []
    version, row = row.version, InferenceRequest.objects.get(pk=row.pk)
    assert (row.state, row.held_for) == (State.QUEUED, "")
    assert row.version > version
    assert counts(row) == [5] * 4 == [item["instance_count"] for item in row.inputs]
    assert taken_by_a_relay(row)


def test_one_series_that_grows_holds_the_request_and_another_of_the_study_does_not(
    study: Arriving,
) -> None:
    """Our own segmentation makes its study unstable."""
    study.send(3, 5)
    study.whole()
    other = Series(study_uid=study.phases[0].study_uid)
    added = orthanc_post(study.node, "/instances", other.files()[0])["ParentSeries"]
    study.grows.series = {added}
    assert study.ask().held_for == ""

    study.grows.series = {study.series[3]}
    assert study.ask(threshold=0.3).held_for == "series_arriving"


def test_clicks_meanwhile_are_the_same_request(study: Arriving) -> None:
    row = study.ask()
    study.send(3, 5)
    assert study.ask() == row
    study.whole()
    # Also one that comes when all is there and the held one has not had its turn.
    assert study.ask() == row
    study.turn()
    assert study.ask() == row
    assert InferenceRequest.objects.count() == 1
    assert counts(row) == [5] * 4


def test_two_processes_that_find_it_whole_send_it_once(study: Arriving) -> None:
    row = study.ask()
    study.send(3, 5)
    study.whole()
    finding = arriving.look(row.pk, study.orthanc)
    assert finding is not None
    both = Barrier(2)

    def release() -> bool:
        from django.db import connection

        try:
            both.wait(10)
            return arriving.release(row.pk, finding)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(release) for _ in range(2)]
        assert sorted(one.result() for one in done) == [False, True]
    assert counts(row) == [5] * 4


def test_a_cancel_while_it_is_held_is_done_at_once(study: Arriving) -> None:
    row = study.ask()
    found = arriving.look(row.pk, study.orthanc)
    assert found is None
    study.whole()
    finding = arriving.look(row.pk, study.orthanc)
    assert cancel(row.pk).state == State.CANCELLED
    assert not Outbox.objects.exists()
    # A process that looked before the cancel.
    assert finding is not None
    assert not arriving.release(row.pk, finding)
    assert not Outbox.objects.exists()
    assert InferenceRequest.objects.get(pk=row.pk).held_for == ""


@pytest.mark.parametrize(
    ("arrives", "code", "said"),
    [
        (lambda study: study.send(3, 5, 0, 1, 2), "geometry_mismatch", "3 slices"),
        (lambda study: delete(study, 1), "series_not_found", "does not exist"),
        (lambda study: [delete(study, n) for n in range(4)], "series_not_found", "archive"),
    ],
)
def test_what_cannot_be_analysed_when_all_has_arrived_ends_with_its_reason(
    study: Arriving, arrives: Any, code: str, said: str
) -> None:
    row = study.ask()
    arrives(study)
    study.whole()
    assert study.turn() == [row.pk]
    row.refresh_from_db()
    assert (row.state, row.failure_code, row.held_for) == (State.FAILED, code, "")
    assert said in row.failure_detail
    # Nothing was sent, so no lab is told to stop.
    assert not Outbox.objects.exists()


def test_a_series_that_turned_out_to_hold_several_phases_has_changed(study: Arriving) -> None:
    row = study.ask()
    more = four_phases()[0]
    for number, ds in enumerate(more.datasets):
        first = study.phases[2]
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = first.study_uid, first.frame_uid
        ds.SeriesInstanceUID, ds.AcquisitionTime = first.series_uid, "103000"
        ds.ContentTime, ds.InstanceNumber = "103000", 100 + number
    for file in more.files():
        orthanc_post(study.node, "/instances", file)
    study.send(3, 5)
    study.whole()
    study.turn()
    row.refresh_from_db()
    assert (row.state, row.failure_code) == (State.FAILED, "series_changed")
    assert "2 phases" in row.failure_detail


def test_an_archive_that_is_away_keeps_it_held(study: Arriving) -> None:
    row = study.ask()
    study.whole()
    study.grows.away = True
    with pytest.raises(ArchiveUnavailable):
        arriving.whole(study.orthanc)
    with pytest.raises(ArchiveUnavailable):
        arriving.look(row.pk, study.orthanc)
    assert InferenceRequest.objects.get(pk=row.pk).held_for == "series_arriving"


def test_many_held_requests_are_one_question_to_the_archive(study: Arriving) -> None:
    for number in range(3):
        study.ask(threshold=0.1 * (number + 1))
    study.grows.asked.clear()
    assert arriving.whole(study.orthanc) == []
    assert study.grows.asked == ["/tools/bulk-content"]


def test_without_an_end_it_fails_when_its_validity_is_over(study: Arriving) -> None:
    row = study.ask()
    made = timezone.now() - timedelta(seconds=101)
    InferenceRequest.objects.filter(pk=row.pk).update(created_at=made)
    assert list(overdue.expired(100)) == [row.pk]
    assert overdue.expire(row.pk, 100)
    row.refresh_from_db()
    assert (row.state, row.failure_code) == (State.FAILED, "series_incomplete")
    assert not Outbox.objects.filter(type=InferenceRequested.wire_type()).exists()


def test_a_retry_of_what_still_arrives_is_held_too(study: Arriving, settings: Any) -> None:
    ended = study.ask()
    InferenceRequest.objects.filter(pk=ended.pk).update(state=State.FAILED)
    ended.refresh_from_db()
    caller = logged_in(reader_of())
    # By the archive's own word.
    answer = caller.post(f"{REQUESTS}/{ended.pk}/retry")
    assert answer.json()["waits_for"] == "series_arriving"


def test_only_what_cannot_change_refuses_at_the_click(study: Arriving) -> None:
    # Two of the phases have another number of slices by now.
    study.send(3, 4, 1, 2)
    assert study.ask().held_for == "series_arriving"
    elsewhere = Arriving(study.node)
    study.series[2] = elsewhere.series[2]
    elsewhere.orthanc.close()
    with pytest.raises(NotAsked) as refused:
        study.ask()
    assert refused.value.code == "series_not_found"


def test_of_what_is_whole_already_a_refusal_is_final(study: Arriving) -> None:
    study.grows.series = {study.series[3]}
    inputs = [
        Selection(role, study.series[place])
        for role, place in zip(DCE_ROLES, (0, 1, 1, 3), strict=True)
    ]
    with pytest.raises(NotAsked) as refused:
        study.ask(inputs=inputs)
    assert refused.value.code == "same_series_twice"


def test_the_old_way_sends_at_once_and_says_so(study: Arriving, settings: Any) -> None:
    use_archive(settings, study.node, waits=False)
    row = study.ask()
    assert row.held_for == ""
    assert taken_by_a_relay(row)
    study.send(3, 4)
    reader = logged_in(reader_of())
    (concern,) = [one for one in concerns(reader, study) if one["code"] == "series_arriving"]
    assert "without those that are missing" in concern["message"]
    assert not concern["refuses"]


def test_what_is_held_is_sent_once_no_request_waits_any_more(
    study: Arriving, settings: Any
) -> None:
    row = study.ask()
    study.send(3, 4)
    use_archive(settings, study.node, waits=False)
    # It joins the one that is held, which therefore has to be sent.
    assert study.ask() == row
    assert study.turn() == [row.pk]
    assert counts(row) == [4] * 4
    assert taken_by_a_relay(row)


def test_page_and_api_say_before_the_click_what_is_still_arriving(study: Arriving) -> None:
    """By the archive's own word."""
    reader = logged_in(reader_of())
    study.send(3, 4, 1)
    found = concerns(reader, study)
    assert found[0]["code"] == "series_arriving"
    assert "will be sent as soon as" in found[0]["message"]
    # The numbers of slices differ, and more may come.
    assert "geometry_mismatch" in [one["code"] for one in found]
    assert not any(one["refuses"] for one in found)

    study.send(3, 4)
    proposed = reader.get(f"/api/v1/studies/{study.study_id}/phases").json()
    assert "series_arriving" in [one["code"] for one in proposed["concerns"]]
    lines = reader.get(f"/api/v1/studies/{study.study_id}").json()["series"]
    assert {line["series_id"]: line["arriving"] for line in lines} == dict.fromkeys(
        study.series, True
    )
    study.send(4, 5)
    page = reader.get(f"/studies/{study.study_id}/").content.decode()
    assert "5, still arriving" in page
    assert "will be sent as soon as they" in page


def test_the_request_says_what_it_waits_for_until_it_is_sent(study: Arriving) -> None:
    reader = logged_in(reader_of())
    study.send(3, 5)
    answer = ask(reader, body(study.study_id, study.series))
    shown = answer.json()
    assert (answer.status_code, shown["state"]) == (202, "queued")
    assert shown["waits_for"] == "series_arriving"
    old = reader.get(f"/api/mri/segmentation/status/{shown['request_id']}/").json()
    assert old["status"] == "pending"
    assert "전송" in old["message"]
    study.whole()
    study.turn()
    address = f"{REQUESTS}/{shown['request_id']}"
    released = reader.get(address).json()
    assert (released["state"], released["waits_for"]) == ("queued", None)
    assert released["version"] > shown["version"]


def test_what_a_site_of_an_older_version_has_sent_is_not_sent_again(study: Arriving) -> None:
    """It ignores `held`; with the counts of the click its lab says `series_changed`."""
    row = study.ask()
    before = message_of(row)
    kept = Outbox.objects.filter(request=row)
    kept.update(attempted=True, lease=uuid4(), leased_until=timezone.now() + timedelta(seconds=9))
    study.send(3, 5)
    study.whole()
    study.turn()
    assert message_of(row).inputs == before.inputs
    # If it was not sent after all, a relay finds it once that lease is over.
    assert not kept.get().held


def concerns(reader: Client, study: Arriving) -> list[dict[str, Any]]:
    answer = reader.get(
        f"/api/v1/studies/{study.study_id}/concerns", {"phase": study.series}
    ).json()
    found: list[dict[str, Any]] = answer["concerns"]
    return found


def delete(study: Arriving, place: int) -> None:
    import httpx

    node = study.node
    address = f"{node.url}/series/{study.series[place]}"
    httpx.delete(address, auth=(node.user, node.password)).raise_for_status()


def test_a_phase_that_has_not_come_yet_can_be_asked_for_in_other_words(
    orthanc: OrthancNode, settings: Any
) -> None:
    """Once it is there both requests for it are called alike, and each ends by itself."""
    use_archive(settings, orthanc, waits=True)
    client, grows = growing(orthanc)
    phases = four_phases()
    merged(phases, partial(by_keyword, "TemporalPositionIdentifier"))
    files = [file for phase in phases[:3] for file in phase.files()]
    partly = stored(orthanc, phases, files)
    grows.series = set(partly.series_ids)

    def ask_for(*values: str) -> InferenceRequest:
        chosen = [
            Selection(
                role,
                partly.series_ids[0],
                PhaseSelector(keyword="TemporalPositionIdentifier", value=value),
            )
            for role, value in zip(DCE_ROLES, values, strict=True)
        ]
        asked: dict[str, Any] = {"study_id": partly.study_id, "inputs": chosen, "user": None}
        return submit(**asked, orthanc=client)

    first, second = ask_for("1", "2", "3", "4.0"), ask_for("1", "2", "3", "4")
    assert first != second
    stored(orthanc, phases, phases[3].files())
    grows.series.clear()
    for row in (first, second):
        finding = arriving.look(row.pk, client)
        assert finding is not None
        assert arriving.release(row.pk, finding)
    for row in (first, second):
        sent = message_of(row).inputs
        assert [item.phase_selector.value for item in sent if item.phase_selector] == list("1234")
        assert {item.instance_count for item in sent} == {20}
    assert ask_for("1", "2", "3", "4.0") == second
    client.close()
