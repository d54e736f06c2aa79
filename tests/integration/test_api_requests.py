"""``/api/v1/requests``: repeated clicks, pages, filters, histories, results, and who sees them."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from infra.local.orthanc import OrthancNode
from messages import identity
from messages.events import InferenceProgressed, InferenceRetryScheduled, RunEvent, Stage
from messages.failures import FAILURE_TEXTS, FailureCode
from tests.integration.test_web_api import REQUESTS, ask, body, error_of, store
from tests.integration.web_requests import ORTHANC_ID, a_run, place, take_in
from tests.site import reader_of, site_with, use_archive
from web.access.audit import Action
from web.access.models import AuditEntry
from web.inference.models import IdempotencyKey, InferenceRequest, Outbox, RequestEvent
from web.inference.record import record_event, record_published

#: Of a study that is not in the archive.
OTHER_ID = "-".join(["89abcdef"] * 5)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> tuple[str, list[str]]:
    return store(orthanc, 4)


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    return logged_in(reader_of())


def logged_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask_again(client: Client, content: Any, key: str) -> Any:
    headers = {"Idempotency-Key": key}
    return client.post(REQUESTS, content, content_type="application/json", headers=headers)


def written(study_id: str = ORTHANC_ID, **values: Any) -> InferenceRequest:
    """A request without its way through the archive."""
    row: InferenceRequest = InferenceRequest.objects.create(
        **{"pool": "lab", "model": "breast_dce_phantom", "study_uid": "1.2.3", "inputs": []}
        | {"deadline_s": 60, "study_id": study_id}
        | values
    )
    return row


def told(*events: RunEvent) -> None:
    for event in events:
        with transaction.atomic():
            take_in(event)


def test_a_repeated_click_is_the_same_request(reader: Client, study: tuple[str, list[str]]) -> None:
    content = body(*study)
    first = ask_again(reader, content, "click-1")
    content["inputs"].reverse()
    again = ask_again(reader, content, "click-1")

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    assert (InferenceRequest.objects.count(), Outbox.objects.count()) == (1, 1)
    assert AuditEntry.objects.filter(action=Action.REQUESTED).count() == 1


def test_a_repeated_click_is_answered_while_the_archive_is_down(
    reader: Client, study: tuple[str, list[str]], settings: Any
) -> None:
    first = ask_again(reader, body(*study), "click-1")
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    assert ask_again(reader, body(*study), "click-1").json() == first.json()
    assert ask_again(reader, body(*study), "click-2").status_code == 503


def test_a_repeated_click_tells_where_the_request_is_by_now(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    request_id = UUID(ask_again(reader, body(*study), "click-1").json()["request_id"])
    told(*a_run(request_id))
    again = ask_again(reader, body(*study), "click-1")
    assert (again.status_code, again.json()["state"]) == (202, "completed")
    # It tells the result, so that is a look at it.
    assert AuditEntry.objects.filter(action=Action.RESULT_VIEWED).exists()


def test_a_key_stands_for_one_wish(reader: Client, study: tuple[str, list[str]]) -> None:
    ask_again(reader, body(*study), "click-1")
    for other in (body(*study, threshold=0.3), body(*study, model="breast_dce_phantom")):
        answer = ask_again(reader, other, "click-1")
        assert answer.status_code == 422
        assert error_of(answer)["code"] == "idempotency_key_reused"
    assert Outbox.objects.count() == 1


def test_a_key_is_its_users_own(reader: Client, study: tuple[str, list[str]]) -> None:
    other = logged_in(reader_of(name="other"))
    wishes = {reader: body(*study), other: body(*study, threshold=0.3)}
    answers = [ask_again(client, wish, "click-1") for client, wish in wishes.items()]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["request_id"] for answer in answers}) == 2


def test_a_refused_click_leaves_its_key_free(
    reader: Client, study: tuple[str, list[str]], settings: Any
) -> None:
    good = settings.SITE.orthanc_url
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    assert ask_again(reader, body(*study), "click-1").status_code == 503
    site_with(settings, orthanc_url=good)
    assert ask_again(reader, body(*study), "click-1").status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ", "a\tb"])
def test_a_key_that_is_no_printable_ascii_is_refused(
    reader: Client, study: tuple[str, list[str]], key: str
) -> None:
    answer = ask_again(reader, body(*study), key)
    assert answer.status_code == 422
    error_of(answer)
    assert not Outbox.objects.exists()


def test_of_clicks_that_come_at_once_one_makes_the_request(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    together = Barrier(4)

    def click(_: int) -> Any:
        try:
            client = Client()
            client.cookies = reader.cookies
            together.wait(timeout=10)
            return ask_again(client, body(*study), "click-1")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(click, range(4)))

    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({answer.headers["Location"] for answer in answers}) == 1
    counts = [k.objects.count() for k in (InferenceRequest, Outbox, IdempotencyKey, RequestEvent)]
    assert counts == [1, 1, 1, 1]
    assert AuditEntry.objects.filter(action=Action.REQUESTED).count() == 1


def pages(client: Client, limit: int, between: Any = lambda: None, **filters: Any) -> list[str]:
    """The ids of every page, one after the other."""
    found: list[str] = []
    wanted = {"limit": limit, **filters}
    while True:
        answer = client.get(REQUESTS, wanted).json()
        assert len(answer["requests"]) <= limit
        found += [shown["request_id"] for shown in answer["requests"]]
        if answer["next"] is None:
            return found
        wanted["cursor"] = answer["next"]
        between()


def test_pages_are_complete_and_stable_while_requests_arrive(reader: Client) -> None:
    rows = [written() for _ in range(11)]
    # Some of the same moment: then the id decides.
    InferenceRequest.objects.filter(pk__in=[row.pk for row in rows[:6]]).update(
        created_at=rows[0].created_at
    )
    ordered = InferenceRequest.objects.order_by("-created_at", "-pk").values_list("pk", flat=True)
    expected = [str(key) for key in ordered]
    assert pages(reader, 3, between=written) == expected
    assert len(pages(reader, 100)) == 11 + 3
    assert len(pages(reader, 7)) == 11 + 3


def as_cursor(*place: str) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "ключ",
        "%00",
        as_cursor(),
        as_cursor("2026-01-01T00:00:00", OTHER_ID),
        as_cursor("2026-01-01T00:00:00", "00000000-0000-4000-8000-000000000000"),
        as_cursor("0001-01-01T00:00:00+23:00", "00000000-0000-4000-8000-000000000000"),
        "x" * 600,
    ],
)
def test_what_is_no_cursor_is_refused(reader: Client, cursor: str) -> None:
    for path in (REQUESTS, "/api/v1/studies"):
        answer = reader.get(path, {"cursor": cursor})
        assert answer.status_code == 422
        assert error_of(answer)["code"] in {"malformed_cursor", "invalid"}


def test_a_list_holds_what_is_asked_for(reader: Client) -> None:
    mine = written(requested_by=reader_of(name="someone"))
    other = written(study_id=OTHER_ID, model="another", pool="server", state="failed")
    early = mine.created_at - timedelta(seconds=1)

    def found(**filters: Any) -> set[str]:
        return set(pages(reader, 50, **filters))

    assert found() == {str(mine.pk), str(other.pk)}
    assert found(study_id=OTHER_ID) == {str(other.pk)}
    assert found(model="another") == {str(other.pk)}
    assert found(pool="server") == {str(other.pk)}
    assert found(state="failed", pool="server") == {str(other.pk)}
    assert found(state="failed", pool="lab") == set()
    assert found(until=early.isoformat()) == set()
    assert found(since=early.isoformat(), until=other.created_at.isoformat()) == {str(mine.pk)}
    assert found(mine="true") == set()
    someone = logged_in(mine.requested_by)
    assert set(pages(someone, 50, mine="true")) == {str(mine.pk)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 101},
        {"state": "lost"},
        {"study_id": "x"},
        {"since": "2026-01-01T00:00:00"},
        {"until": "9999-12-31T23:59:59-23:59"},
        {"since": "yesterday"},
        {"model": "A\x00"},
    ],
)
def test_a_filter_that_is_none_is_refused(reader: Client, wrong: dict[str, Any]) -> None:
    answer = reader.get(REQUESTS, wrong)
    assert answer.status_code == 422
    assert error_of(answer)["code"] == "invalid"


def test_a_history_holds_every_change_of_state_and_no_mere_progress(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    location = ask(reader, body(*study)).headers["Location"]
    request_id = UUID(location.rpartition("/")[2])
    accepted, downloading, inferring, *_ = a_run(request_id)
    more = InferenceProgressed(**place(request_id, 3), stage=Stage.INFERRING, done=2, total=3)
    code = FailureCode.OUT_OF_MEMORY
    again = InferenceRetryScheduled(**place(request_id, 4), code=code, next_at=accepted.at)
    second = [
        event.model_copy(update={"attempt": 2}) for event in a_run(request_id) if event is not more
    ]
    told(accepted, downloading, inferring, more, again, *second)

    answer = reader.get(f"{location}/events").json()
    events = answer["events"]
    assert answer["request_id"] == str(request_id)
    states = "queued accepted downloading inferring waiting accepted downloading inferring"
    assert [event["state"] for event in events] == [
        *states.split(),
        "uploading",
        "reported",
        "completed",
    ]
    assert [event["attempt"] for event in events] == [1] * 5 + [2] * 6
    # The progress raised the version as well.
    assert [event["version"] for event in events] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert (events[0]["lab"], events[1]["lab"]) == ("", "lab1")
    sentence = FAILURE_TEXTS[code].reader("en")
    assert events[4]["failure"]["code"] == code
    assert events[4]["failure"]["reader"] == sentence
    assert [event["failure"] for event in events].count(None) == len(events) - 1


def test_a_history_holds_the_publishing_also_when_the_lab_was_faster() -> None:
    row = written()
    told(*a_run(row.pk)[:2])
    with transaction.atomic():
        at = timezone.now()
        assert record_published(row.pk, at)
    published = RequestEvent.objects.get(request=row, state="published")
    assert published.at == at
    assert InferenceRequest.objects.get(pk=row.pk).state == "downloading"


def test_a_history_and_the_request_are_written_together() -> None:
    row = written()
    with transaction.atomic():
        record_event(a_run(row.pk)[0])
        assert RequestEvent.objects.exists()
        transaction.set_rollback(True)
    assert not RequestEvent.objects.exists()


def test_a_result_has_figures_and_says_where_its_objects_are(reader: Client) -> None:
    row = written()
    path = f"{REQUESTS}/{row.pk}/result"
    answer = reader.get(path)
    assert answer.status_code == 409
    assert error_of(answer) == {
        "code": "no_result",
        "message": "This request has no result.",
        "request_id": str(row.pk),
    }

    told(*a_run(row.pk))
    shown = reader.get(path).json()
    assert shown["figures"]["volume_ml"] == 1.2
    assert shown["segmentation"] == {
        "instance_id": ORTHANC_ID,
        "series_uid": identity.primary_series_uid(row.pk),
        "sop_instance_uid": identity.primary_instance_uid(row.pk),
    }
    assert shown["report"]["series_uid"] == identity.report_series_uid(row.pk)
    assert reader.get(shown["links"]["request"]).json()["result"] == shown["figures"]
    assert shown["links"]["overlay"] == f"/requests/{row.pk}/overlay.json"
    viewed = AuditEntry.objects.filter(action=Action.RESULT_VIEWED, subject=str(row.pk))
    # The second look is within the hour.
    assert viewed.count() == 1


def test_without_a_finding_the_report_is_the_primary_object(reader: Client) -> None:
    row = written()
    *before, completed = a_run(row.pk)
    told(*before, completed.model_copy(update={"seg_instance_id": None, "tumor_detected": False}))
    shown = reader.get(f"{REQUESTS}/{row.pk}/result").json()
    assert shown["segmentation"] is None
    assert shown["report"]["sop_instance_uid"] == identity.primary_instance_uid(row.pk)


def test_what_is_not_granted_does_not_exist(reader: Client, study: tuple[str, list[str]]) -> None:
    location = ask(reader, body(*study)).headers["Location"]
    told(*a_run(UUID(location.rpartition("/")[2])))
    stranger = logged_in(reader_of(OTHER_ID, name="stranger"))

    study_path = f"/api/v1/studies/{study[0]}"
    for path in (location, f"{location}/events", f"{location}/result"):
        answer, absent = (
            stranger.get(path),
            stranger.get(path.replace(location[-36:], str(uuid4()))),
        )
        assert answer.status_code == absent.status_code == 404
        assert error_of(answer)["message"] == error_of(absent)["message"]
    for path in (study_path, f"{study_path}/phases"):
        answer, absent = stranger.get(path), reader.get(path.replace(study[0], ORTHANC_ID))
        assert answer.status_code == absent.status_code == 404
        assert answer.json() == absent.json()
    refused = ask(stranger, body(*study))
    assert refused.status_code == 404
    assert refused.json() == ask(reader, body(ORTHANC_ID, study[1])).json()
    assert stranger.get(REQUESTS).json() == {"requests": [], "next": None}
    assert stranger.get(REQUESTS, {"study_id": study[0]}).json()["requests"] == []
    assert stranger.get("/api/v1/studies").json() == {"studies": [], "next": None}
    assert InferenceRequest.objects.count() == 1
    tried = AuditEntry.objects.filter(action=Action.REFUSED, study_id=study[0])
    assert tried.count() == 6


def test_a_granted_reader_sees_their_study_only(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    ask(reader, body(*study))
    written(study_id=OTHER_ID)
    guest = logged_in(reader_of(study[0], name="guest"))
    assert len(pages(guest, 50)) == 1
    assert len(pages(reader, 50)) == 2
    assert ask(guest, body(*study)).status_code == 202
