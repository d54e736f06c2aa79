"""A result that staff have withdrawn: who says so, what stays, and what goes from the archive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from infra.local.orthanc import OrthancNode
from tests.integration.followed import Followed
from tests.integration.test_api_requests import logged_in
from tests.integration.test_web_api import REQUESTS
from tests.site import reader_of, use_archive
from web.access.models import AuditEntry
from web.inference import withdraw_admin
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView
from web.inference.superseded import superseded_by
from web.inference.verdict import Decision, Verdict
from web.inference.withdraw import result_in
from web.orthanc.archive import archive

pytestmark = pytest.mark.django_db(transaction=True)

OLD = "/api/mri/segmentation"
REASON = "Wrong phases were chosen."


@pytest.fixture(autouse=True)
def site(orthanc: OrthancNode, settings: Any) -> None:
    use_archive(settings, orthanc)


@pytest.fixture
def study(orthanc: OrthancNode) -> Followed:
    return Followed(orthanc)


def staff() -> User:
    user = reader_of(name="physicist")
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="change_inferencerequest"))
    return user


def ask(client: Client, row: InferenceRequest, **body: Any) -> Any:
    address = f"{REQUESTS}/{row.pk}/withdraw"
    return client.post(address, json.dumps(body), content_type="application/json")


def test_staff_withdraw_a_result_and_everybody_is_told_why(study: Followed) -> None:
    row = study.result()
    Verdict.objects.create(request=row, decision=Decision.ACCEPTED)
    before = RequestView.of(row).version
    client = logged_in(staff())
    told = ask(client, row, reason=REASON).json()
    assert (told["result_state"], told["withdrawn"]["reason"]) == ("withdrawn", REASON)
    assert told["version"] > before
    assert told["verdict"] == "accepted", "verdicts are kept"
    assert told["result"]["seg_instance_id"], "what was told once is not told otherwise"
    reader = logged_in(reader_of(study.study_id))
    assert reader.get(f"{REQUESTS}/{row.pk}").json()["withdrawn"]["reason"] == REASON
    for address in (f"{REQUESTS}/{row.pk}/result", f"{REQUESTS}/{row.pk}/report"):
        answer = reader.get(address)
        assert (answer.status_code, answer.json()["error"]["code"]) == (410, "result_withdrawn")
        assert REASON in answer.json()["error"]["message"]
    overlay = reader.get(f"/requests/{row.pk}/overlay.json")
    assert (overlay.status_code, overlay.json()["error"]["code"]) == (410, "result_withdrawn")
    page = reader.get("/")
    assert 'data-afterwards="withdrawn"' in page.content.decode()
    assert AuditEntry.objects.filter(action="withdrawn", subject=str(row.pk)).count() == 1
    assert archive().instances_with(next(uid for uid in study.ids if uid.startswith("2.25")))


def test_the_old_calls_tell_no_success_any_more(study: Followed) -> None:
    row = study.result()
    client = logged_in(staff())
    ask(client, row, reason=REASON)
    status = client.get(f"{OLD}/status/{row.pk}/", headers={"Accept-Language": "ko"})
    told = status.json()
    assert (status.status_code, told["success"], told["status"]) == (410, False, "failed")
    assert told["error"] == f"이 결과는 철회되었습니다. 사유: {REASON}"
    assert told["result"]["seg_instance_id"] is None
    listed = client.get(f"{OLD}/requests/?status=failed").json()["requests"]
    assert [(one["request_id"], one["has_result"]) for one in listed] == [(str(row.pk), False)]
    assert client.get(f"{OLD}/requests/?status=completed").json()["requests"] == []


def test_it_needs_staff_and_a_reason_and_a_result_and_is_done_once(study: Followed) -> None:
    row = study.result()
    reader = logged_in(reader_of())
    assert ask(reader, row, reason=REASON).status_code == 403
    client = logged_in(staff())
    assert ask(client, row, reason=" \n").status_code == 422
    assert ask(client, study.result(state="failed", result=None), reason="x").status_code == 409
    assert ask(client, row, reason=REASON).status_code == 200
    again = ask(client, row, reason="another")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "withdrawn_before")
    row.refresh_from_db()
    assert row.withdrawn_reason == REASON


def test_objects_are_removed_only_where_that_is_asked(study: Followed) -> None:
    row = study.result()
    (primary,) = (uid for uid in study.ids if uid.startswith("2.25"))
    client = logged_in(staff())
    ask(client, row, reason=REASON)
    assert archive().instances_with(primary)
    assert ask(client, row, reason=REASON, remove_objects=True).status_code == 200
    assert not archive().instances_with(primary)
    assert archive().json("studies", study.study_id)["Series"], "the images stay"
    assert AuditEntry.objects.filter(action="objects_removed").count() == 1
    assert ask(client, row, reason=REASON, remove_objects=True).status_code == 200
    assert AuditEntry.objects.filter(action="objects_removed").count() == 1, "nothing was left"


def test_an_object_that_lies_in_another_study_stays_and_the_command_says_so(
    study: Followed, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of a request of another study: what lies here is a copy.
    row = study.result(study_uid="1.2.3")
    call_command("withdraw", str(row.pk), "--reason", REASON, "--remove-objects")
    told = capsys.readouterr().out
    assert told == f"{row.pk}: withdrawn; 1 of its objects lie in another study and stay there\n"
    assert not AuditEntry.objects.filter(action="objects_removed").exists()
    assert row.result is not None
    assert archive().json("instances", row.result["seg_instance_id"])


def test_the_request_of_a_stored_segmentation_is_found_by_its_object(study: Followed) -> None:
    row, _other = study.result(), study.result()
    assert row.result is not None
    assert result_in(study.study_id, row.result["seg_instance_id"]) == row
    assert result_in("another study", row.result["seg_instance_id"]) is None


def test_a_withdrawn_result_replaces_nothing(study: Followed) -> None:
    older, newer = study.result(), study.result()
    assert RequestView.of(older).superseded_by == newer.pk
    told = RequestView.of(older).version
    ask(logged_in(staff()), newer, reason=REASON)
    older.refresh_from_db()
    view = RequestView.of(InferenceRequest.objects.get(pk=older.pk))
    assert view.superseded_by is None
    assert view.version > told, "an open page of the older one learns that it holds again"
    assert superseded_by(study.result(state="queued", result=None)) == older.pk


def test_the_command_withdraws_and_says_what_it_could_not(
    study: Followed, capsys: pytest.CaptureFixture[str]
) -> None:
    row, without = study.result(), study.result(state="failed", result=None)
    with pytest.raises(CommandError, match="not done: 1 of 2"):
        call_command("withdraw", str(row.pk), str(without.pk), "--reason", REASON)
    row.refresh_from_db()
    assert (row.result_state, row.withdrawn_reason) == ("withdrawn", REASON)
    assert f"{without.pk}: This request has no result to withdraw." in capsys.readouterr().err


def test_the_admin_asks_for_the_reason_first(study: Followed) -> None:
    row = study.result()
    user = staff()
    user.user_permissions.add(Permission.objects.get(codename="view_inferencerequest"))
    client = logged_in(user)
    address = "/admin/labrelay_inference/inferencerequest/"
    chosen = {"action": "withdraw_selected", "_selected_action": [str(row.pk)]}
    asked = client.post(address, chosen)
    assert asked.status_code == 200
    assert 'name="reason"' in asked.content.decode()
    row.refresh_from_db()
    assert row.withdrawn_at is None
    client.post(address, {**chosen, "confirmed": "yes", "reason": REASON})
    row.refresh_from_db()
    assert row.withdrawn_reason == REASON


def test_the_admin_withdraws_no_more_than_its_second_page_can_send(
    study: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdraw_admin, "MOST_AT_ONCE", 1)
    rows = [study.result(), study.result()]
    user = staff()
    user.user_permissions.add(Permission.objects.get(codename="view_inferencerequest"))
    address = "/admin/labrelay_inference/inferencerequest/"
    chosen = {"action": "withdraw_selected", "_selected_action": [str(row.pk) for row in rows]}
    answer = logged_in(user).post(address, chosen, follow=True)
    assert "Please choose at most 1 results at a time." in answer.content.decode()
    assert not InferenceRequest.objects.exclude(withdrawn_at=None).exists()
