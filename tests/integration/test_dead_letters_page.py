"""The staff's pages of dead letters: who sees them, what they show, and what the buttons do."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone

from tests.integration.letters import dead_request, letter_of, staff_member, stored_letter
from tests.integration.web_requests import a_run, write_request
from web.access.models import AuditEntry
from web.inference.models import DeadLetter, InferenceRequest, LettersBeyond, Outbox
from web.inference.states import State

LIST = "/admin/labrelay_inference/deadletter/"

pytestmark = pytest.mark.django_db(transaction=True)


class Host:
    """URLs of a project that has its admin elsewhere."""

    urlpatterns = (path("backoffice/", admin.site.urls),)


@pytest.fixture
def staff() -> Client:
    return staff_member("view", "change")


def page_of(client: Client, letter: DeadLetter, **headers: str) -> str:
    return text(client.get(f"{LIST}{letter.pk}/change/", headers=headers))


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


def press(client: Client, action: str, *letters: DeadLetter, sure: bool = True) -> str:
    """Press a button, and confirm unless not sure; the text of the page that comes then."""
    form = {"action": action, "_selected_action": [str(letter.pk) for letter in letters]}
    if sure:
        form["confirmed"] = "yes"
    return text(client.post(LIST, form, follow=True))


def test_the_pages_are_at_the_addresses_of_the_admin() -> None:
    assert reverse("admin:labrelay_inference_deadletter_changelist") == LIST


def test_a_replay_asks_first_and_then_sends_the_request_out_again(staff: Client) -> None:
    row, letter = dead_request()
    page = page_of(staff, letter)
    assert 'value="replay_selected"' in page
    assert 'value="discard_selected"' in page

    question = press(staff, "replay_selected", letter, sure=False)
    assert "Replay 1 dead letter?" in question
    assert str(row.pk) in question
    row.refresh_from_db()
    assert row.state == State.DEAD

    answer = press(staff, "replay_selected", letter)
    assert f"{letter.pk}: Request {row.pk} goes out again, as attempt 2." in answer
    row.refresh_from_db()
    letter.refresh_from_db()
    assert (row.state, row.attempt) == (State.QUEUED, 2)
    user = User.objects.get(username="staff")
    assert (letter.settled_as, letter.settled_by) == ("replayed", user)
    noted = AuditEntry.objects.get(action="replayed")
    assert (noted.user_id, noted.way, noted.subject) == (user.pk, "session", str(row.pk))
    # What is done cannot be done again, and says who did it.
    page = page_of(staff, letter)
    assert 'value="replay_selected"' not in page
    assert page.partition("field-settled")[2].split("</div>")[0].endswith(" staff")
    assert "has been dealt with already" in press(staff, "discard_selected", letter)


def test_of_many_letters_each_is_dealt_with_for_itself(staff: Client) -> None:
    row, letter = dead_request()
    garbage = [stored_letter() for _ in range(24)]
    answer = press(staff, "replay_selected", letter, *garbage)
    assert f"Request {row.pk} goes out again" in answer
    assert "1 dead letters were dealt with, 24 left as they are." in answer
    assert DeadLetter.objects.filter(settled_at=None).count() == 24
    assert "and 4 more" in press(staff, "discard_selected", *garbage, sure=False)
    press(staff, "discard_selected", *garbage)
    assert not DeadLetter.objects.filter(settled_at=None).exists()


def test_who_may_only_look_finds_no_button_and_can_do_nothing() -> None:
    row, letter = dead_request()
    looker = staff_member("view")
    assert "replay_selected" not in page_of(looker, letter)
    assert "replay_selected" not in text(looker.get(LIST))
    for action in ("replay_selected", "discard_selected"):
        press(looker, action, letter)
    row.refresh_from_db()
    letter.refresh_from_db()
    assert (row.state, letter.settled_at) == (State.DEAD, None)

    nobody = staff_member(name="nobody")
    assert nobody.get(LIST).status_code == 403
    assert nobody.post(LIST, {"action": "replay_selected"}).status_code == 403
    stranger = Client().get(LIST)
    assert stranger.status_code == 302
    assert Outbox.objects.filter(request=row, sent_at=None).count() == 0


def test_staff_changes_adds_and_deletes_no_letter(staff: Client) -> None:
    letter = stored_letter()
    for word in ("add/", f"{letter.pk}/delete/"):
        assert staff.post(LIST + word, {"post": "yes"}).status_code == 403
    assert staff.post(f"{LIST}{letter.pk}/change/", {"queue": "x"}).status_code == 403
    assert "has been" not in press(staff, "delete_selected", letter)
    assert DeadLetter.objects.get().queue == "mri.replies.lab"


def test_a_button_without_the_page_s_token_does_nothing() -> None:
    _row, letter = dead_request()
    staff = staff_member("view", "change")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = staff.cookies
    form = {"action": "replay_selected", "_selected_action": str(letter.pk), "confirmed": "yes"}
    assert strict.post(LIST, form).status_code == 403
    assert DeadLetter.objects.get().settled_at is None


def test_a_letter_is_shown_as_its_message_or_not_at_all(staff: Client) -> None:
    row = write_request()
    page = page_of(staff, letter_of(a_run(row.pk)[-1]))
    assert "&quot;volume_ml&quot;: 1.2" in page
    assert f"/admin/labrelay_inference/inferencerequest/{row.pk}/change/" in page

    script = "<script>alert(1)</script>"
    garbage = stored_letter(body=b"\x1b secret", type=script, routing_key=script)
    page = page_of(staff, garbage)
    assert "Cannot be read:" in page
    assert "secret" not in page
    assert script not in page
    assert 'value="replay_selected"' not in page
    assert script not in text(staff.get(LIST))


def test_the_list_can_be_narrowed_and_searched(staff: Client) -> None:
    row, letter = dead_request()
    garbage = stored_letter()
    press(staff, "discard_selected", garbage)

    def listed(**wanted: str) -> set[int]:
        page = text(staff.get(LIST, wanted))
        return {one.pk for one in (letter, garbage) if f"{LIST}{one.pk}/change/" in page}

    assert listed() == {letter.pk, garbage.pk}
    assert listed(settled="no") == {letter.pk}
    assert listed(settled="discarded") == {garbage.pk}
    assert listed(settled="replayed") == set()
    assert listed(queue="mri.requests.lab") == {letter.pk}
    assert listed(type="garbage") == {garbage.pk}
    assert listed(q=str(row.pk)) == {letter.pk}
    assert listed(q="nobody") == set()


def test_the_request_s_page_links_its_letters_and_its_history() -> None:
    row, letter = dead_request()
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss"))
    page = text(boss.get(f"/admin/labrelay_inference/inferencerequest/{row.pk}/change/"))
    assert f'<a href="{LIST}{letter.pk}/change/">' in page
    assert "worker_crashed" in page
    assert text(boss.get("/admin/labrelay_inference/inferencerequest/", {"q": str(row.pk)}))
    assert InferenceRequest.objects.get().version == row.version


def test_the_pages_speak_korean(staff: Client) -> None:
    _row, letter = dead_request()
    korean = {"Accept-Language": "ko"}
    page = page_of(staff, letter, **korean)
    listed = text(staff.get(LIST, headers=korean))
    for words in ("재전송", "폐기"):
        assert words in page
        assert words in listed
    for words in ("수신", "큐", "사유", "처리"):
        assert words in listed
    form = {"action": "replay_selected", "_selected_action": str(letter.pk)}
    assert "다시 보냅니다" in text(staff.post(LIST, form, headers=korean))
    sure = {**form, "confirmed": "yes"}
    assert "2번째 시도" in text(staff.post(LIST, sure, headers=korean, follow=True))


def test_the_pages_work_where_a_host_project_has_its_admin(staff: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = Host
    row, letter = dead_request()
    there = f"/backoffice/labrelay_inference/deadletter/{letter.pk}/change/"
    page = text(staff.get(there))
    assert 'action="/backoffice/labrelay_inference/deadletter/"' in page
    assert f"/backoffice/labrelay_inference/inferencerequest/{row.pk}/change/" in page
    form = {"action": "discard_selected", "_selected_action": str(letter.pk)}
    listed = "/backoffice/labrelay_inference/deadletter/"
    assert 'href="/backoffice/"' in text(staff.post(listed, form))
    answer = staff.post(listed, {**form, "confirmed": "yes"}, follow=True)
    assert f"Request {row.pk} stays dead." in text(answer)


def test_staff_say_who_has_spoken_where_the_broker_has_not(staff: Client) -> None:
    row = write_request()
    letter = letter_of(a_run(row.pk)[-1], user_id="")
    assert "Nobody knows who has sent this" in page_of(staff, letter)
    form = {"action": "replay_selected", "_selected_action": str(letter.pk)}
    asked_for = staff.post(LIST, form)
    assert "The lab that has spoken" in asked_for.content.decode()

    staff.post(LIST, {**form, "confirmed": "yes"})
    row.refresh_from_db()
    assert row.state == State.QUEUED
    staff.post(LIST, {**form, "confirmed": "yes", "lab": "lab1"})
    row.refresh_from_db()
    assert row.state == State.REPORTED


def test_letters_that_were_only_counted_are_shown_to_staff(client: Client) -> None:
    User.objects.create_superuser("chief")
    client.force_login(User.objects.get(username="chief"))
    LettersBeyond.objects.create(sender="lab9", count=2000, last_at=timezone.now())
    page = client.get("/admin/labrelay_inference/lettersbeyond/").content.decode()
    assert "lab9" in page
    assert "2000" in page
