"""The reader's retry: a new request for the same, which names the one that it repeats."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.test import Client

from infra.local.orthanc import OrthancNode
from messages.codec import decode
from messages.request import InferenceRequested
from tests.dicom_factory import part10
from tests.integration.letters import STAFF, asked, letter_of
from tests.integration.phased import SLICES, four_phases, stored
from tests.integration.test_api_requests import OTHER_ID, logged_in, told
from tests.integration.test_duplicates import Study, counts, id_of, in_state, wish
from tests.integration.test_web_api import REQUESTS, ask, error_of, store
from tests.integration.web_requests import a_run
from tests.site import reader_of, site_with, use_archive
from web.access.models import AuditEntry
from web.inference.letters import LeftAsItIs, replay
from web.inference.models import InferenceRequest, Outbox
from web.inference.retry import REPEATABLE
from web.inference.states import State

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> Study:
    return store(orthanc, 4)


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    return logged_in(reader_of())


def ended(reader: Client, study: Study, state: State = State.FAILED, **more: Any) -> UUID:
    request_id = id_of(ask(reader, wish(study, **more)))
    in_state(request_id, state)
    return request_id


def retry(client: Client, request_id: UUID, key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"{REQUESTS}/{request_id}/retry", headers=headers)


@pytest.mark.parametrize("state", sorted(REPEATABLE))
def test_a_retry_is_a_new_request_for_the_same(reader: Client, study: Study, state: State) -> None:
    old = ended(reader, study, state, threshold=0.4)
    answer = retry(reader, old)
    new = id_of(answer)
    shown = answer.json()
    assert new != old
    assert (shown["state"], shown["attempt"], shown["retry_of"]) == ("queued", 1, str(old))
    assert answer.headers["Location"] == f"{REQUESTS}/{new}"
    assert reader.get(answer.headers["Location"]).json() == shown
    before, after = (InferenceRequest.objects.get(pk=key) for key in (old, new))
    same = ("study_id", "inputs", "model", "threshold", "wish", "pool")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert before.state == state
    message = Outbox.objects.get(request=after)
    told_lab = decode(bytes(message.body), type_=message.type)
    assert isinstance(told_lab, InferenceRequested)
    assert (told_lab.request_id, told_lab.attempt, told_lab.threshold) == (new, 1, 0.4)
    assert AuditEntry.objects.filter(action="requested", subject=str(new)).count() == 1


@pytest.mark.parametrize("state", sorted(frozenset(State) - REPEATABLE))
def test_what_has_a_result_or_has_not_ended_is_not_repeated(
    reader: Client, study: Study, state: State
) -> None:
    old = ended(reader, study, state)
    answer = retry(reader, old)
    assert answer.status_code == 409
    error = error_of(answer)
    expected = "completed" if state is State.COMPLETED else "still_running"
    assert (error["code"], error["request_id"]) == (expected, str(old))
    assert counts() == (1, 1)


def test_the_series_are_looked_up_anew(reader: Client, orthanc: OrthancNode) -> None:
    phases = four_phases()
    late = [phase.datasets.pop() for phase in phases]
    made = stored(orthanc, phases)
    study = (made.study_id, list(made.series_ids))
    old = ended(reader, study)
    # One more image arrives in each series.
    stored(orthanc, phases, [part10(ds) for ds in late])
    row = InferenceRequest.objects.get(pk=id_of(retry(reader, old)))
    assert [item["instance_count"] for item in row.inputs] == [SLICES] * 4

    in_state(row.pk, State.FAILED)
    with httpx.Client(base_url=orthanc.url, auth=(orthanc.user, orthanc.password)) as client:
        client.delete(f"/series/{study[1][0]}").raise_for_status()
    gone = retry(reader, row.pk)
    assert gone.status_code == 404
    assert (error_of(gone)["code"], error_of(gone)["request_id"]) == (
        "series_not_found",
        str(row.pk),
    )


def test_a_retry_goes_where_the_settings_send_requests_now(
    reader: Client, study: Study, settings: Any
) -> None:
    old = ended(reader, study)
    site_with(settings, use_local_inference=False)
    assert retry(reader, old).json()["pool"] == "server"


def test_a_retry_of_what_somebody_asks_for_already_is_their_request(
    reader: Client, study: Study
) -> None:
    old = ended(reader, study)
    new = id_of(retry(reader, old))
    other = logged_in(reader_of(study[0], name="other"))
    assert id_of(retry(other, old)) == new
    assert id_of(ask(other, wish(study))) == new
    assert counts() == (2, 2)


def test_the_same_key_is_the_same_retry_whatever_became_of_both(
    reader: Client, study: Study
) -> None:
    old = ended(reader, study)
    new = id_of(retry(reader, old, "again-1"))
    told(*a_run(new))
    in_state(old, State.QUEUED)
    assert id_of(retry(reader, old, "again-1")) == new
    assert error_of(retry(reader, new, "again-1"))["code"] == "idempotency_key_reused"
    assert error_of(retry(reader, old, "again-2"))["code"] == "still_running"


def test_a_dead_request_whose_reader_has_asked_again_is_not_replayed_beside_it(
    reader: Client, study: Study
) -> None:
    old = InferenceRequest.objects.get(pk=id_of(ask(reader, wish(study))))
    letter = letter_of(asked(old))
    new = id_of(retry(reader, old.pk))
    with pytest.raises(LeftAsItIs):
        replay(letter.pk, STAFF)
    told(*a_run(new))
    replay(letter.pk, STAFF)
    old.refresh_from_db()
    assert old.state == State.QUEUED
    # And the other way round: what staff has brought back is not doubled.
    assert id_of(ask(reader, wish(study))) == old.pk


def test_a_request_that_is_not_seen_is_not_there(reader: Client, study: Study) -> None:
    old = ended(reader, study)
    stranger = logged_in(reader_of(OTHER_ID, name="stranger"))
    hidden, absent = retry(stranger, old), retry(stranger, uuid4())
    assert hidden.status_code == absent.status_code == 404
    assert error_of(hidden)["message"] == error_of(absent)["message"]
    assert AuditEntry.objects.filter(action="refused", subject=str(old)).count() == 1
    assert Client().post(f"{REQUESTS}/{old}/retry").status_code == 401
    assert counts() == (1, 1)


def test_a_retry_while_the_archive_is_down_says_so_and_leaves_its_key_free(
    reader: Client, study: Study, settings: Any
) -> None:
    old = ended(reader, study)
    good = settings.SITE.orthanc_url
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    assert retry(reader, old, "again-1").status_code == 503
    site_with(settings, orthanc_url=good)
    assert id_of(retry(reader, old, "again-1")) != old
