"""Cancel and Retry on the study page, through the real API; no lab, so the test plays its part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, StoredStudy, until
from tests.browser.rows import completed, event, labs, request_of
from web.inference.models import InferenceRequest, Outbox

pytestmark = pytest.mark.django_db(transaction=True)

OpenPages = Callable[..., OpenPage]

#: Lets the pauses between the repeats of a call pass at once.
NO_PAUSES = "const later = setTimeout; window.setTimeout = (work) => later(work, 0)"


def opened_on(open_page: OpenPages, study: StoredStudy) -> OpenPage:
    """The study's page, which follows its newest request; a lab is online."""
    opened = open_page()
    opened.open(f"/studies/{study.study_id}/")
    until(opened.page, lambda: opened.sent)
    opened.push(labs(online=True))
    return opened


def calls_of(page: Page, what: str) -> list[Route]:
    """Every call of ``/cancel`` or ``/retry`` from now on; they go through."""
    calls: list[Route] = []

    def pass_on(route: Route) -> None:
        calls.append(route)
        route.continue_()

    page.route(f"**/api/v1/requests/*/{what}", pass_on)
    return calls


def failed(study: StoredStudy) -> InferenceRequest:
    now = datetime.now(UTC)
    return request_of(study, "failed", finished_at=now, failure_code="series_changed")


def test_a_request_that_no_relay_has_is_cancelled_at_once(
    open_page: OpenPages, study: StoredStudy
) -> None:
    opened = opened_on(open_page, study)
    page = opened.page
    page.locator("#analyse").click()
    expect(page.locator("#status")).to_have_text("The request is stored.")

    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("#status")).to_have_text("The request was cancelled.")
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#retry")).to_be_hidden()
    expect(page.locator("#analyse")).to_have_attribute("aria-disabled", "false")
    assert InferenceRequest.objects.get().state == "cancelled"
    assert Outbox.objects.count() == 0


def test_a_request_at_the_lab_is_being_cancelled_until_the_lab_confirms(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = request_of(study, "inferring", accepted_at=datetime.now(UTC), lab="l")
    opened = opened_on(open_page, study)
    page = opened.page
    page.locator("#cancel").click()

    expect(page.locator("#status")).to_have_text("The request is being cancelled.")
    expect(page.locator("#cancel")).to_be_hidden()
    # Who changes their mind again asks anew.
    expect(page.locator("#analyse")).to_have_attribute("aria-disabled", "false")
    row.refresh_from_db()
    assert row.state == "cancelling"

    opened.push(event(row, state="cancelled", version=row.version + 1))
    expect(page.locator("#status")).to_have_text("The request was cancelled.")


def test_cancel_works_from_the_keyboard_and_pressed_twice_is_pressed_once(
    open_page: OpenPages, study: StoredStudy
) -> None:
    request_of(study, "accepted", accepted_at=datetime.now(UTC), lab="l")
    opened = opened_on(open_page, study)
    page = opened.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/v1/requests/*/cancel", hold)

    page.locator("#analyse").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#cancel")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")
    expect(page.locator("#cancel")).to_be_focused()
    until(page, lambda: held)
    held[0].continue_()

    expect(page.locator("#status")).to_have_text("The request is being cancelled.")
    # Not on a button that starts something: the reader may be about to press again.
    expect(page.locator("#status")).to_be_focused()
    assert len(held) == 1


def test_a_cancel_whose_answer_is_lost_is_asked_again(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = request_of(study, "accepted", accepted_at=datetime.now(UTC), lab="l")
    opened = opened_on(open_page, study)
    page = opened.page
    calls = []

    def lose_two(route: Route) -> None:
        calls.append(route)
        if len(calls) <= 2:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/requests/*/cancel", lose_two)
    page.locator("#cancel").click()

    expect(page.locator("#action-note")).to_have_text("The answer did not arrive. Trying again …")
    expect(page.locator("#status")).to_have_text("The request is being cancelled.")
    expect(page.locator("#action-note")).to_be_hidden()
    assert len(calls) == 3
    assert Outbox.objects.filter(request=row).count() == 1


def test_a_cancel_of_which_nothing_is_known_says_so_until_something_is(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = request_of(study, "accepted", accepted_at=datetime.now(UTC), lab="l")
    opened = opened_on(open_page, study)
    page = opened.page
    page.route("**/api/v1/requests/*/cancel", lambda route: route.abort())
    page.evaluate(NO_PAUSES)
    page.locator("#cancel").click()

    note = page.locator("#action-note")
    expect(note).to_contain_text("it is not known whether the request is being cancelled")
    expect(page.locator("#cancel")).to_have_attribute("aria-disabled", "false")
    opened.push(event(row, state="inferring", version=2))
    expect(page.locator("#status")).to_have_text("The images are being analysed.")
    expect(note).to_be_visible()
    opened.push(event(row, state="cancelling", version=3))
    expect(note).to_be_hidden()


def test_a_cancel_that_comes_too_late_shows_the_sites_sentence_beside_the_result(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = request_of(study, "uploading", accepted_at=datetime.now(UTC), lab="l")
    opened = opened_on(open_page, study)
    page = opened.page
    told = completed(study)
    InferenceRequest.objects.filter(pk=row.pk).update(
        state="completed", finished_at=told.finished_at, result=told.result, version=2
    )
    before = len(opened.sent)
    page.locator("#cancel").click()

    expect(page.locator("#action-note")).to_have_text("Too late: the result is stored already.")
    # The page asks what it has missed.
    until(page, lambda: len(opened.sent) > before)
    assert opened.sent[-1] == {"type": "follow", "request_ids": [str(row.pk)]}
    row.refresh_from_db()
    opened.push(event(row))
    expect(page.locator("#volume-ml")).to_have_text("0.12")
    expect(page.locator("#action-note")).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()


def test_retry_makes_a_new_request_that_names_the_one_it_repeats(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = failed(study)
    opened = opened_on(open_page, study)
    page = opened.page
    calls = calls_of(page, "retry")
    expect(page.locator("#cancel")).to_be_hidden()

    page.get_by_role("button", name="Retry").dblclick()

    expect(page.locator("#status")).to_have_text("The request is stored.")
    expect(page.locator("#retry")).to_be_hidden()
    new = InferenceRequest.objects.exclude(pk=row.pk).get()
    assert new.retry_of == row
    assert new.state == "queued"
    assert len(calls) == 1
    assert opened.sent[-1] == {"type": "follow", "request_ids": [str(new.pk)]}
    repeats = re.compile(r"^This repeats the request of \d+:\d\d\s[AP]M\.$")
    expect(page.locator("#repeats")).to_have_text(repeats)

    page.reload()
    expect(page.locator("#repeats")).to_have_text(repeats)


def test_a_retry_whose_answer_is_lost_makes_one_request(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = failed(study)
    opened = opened_on(open_page, study)
    page = opened.page
    keys = []

    def lose_all(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()
        if len(keys) <= 5:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/requests/*/retry", lose_all)
    page.evaluate(NO_PAUSES)
    page.locator("#retry").click()
    expect(page.locator("#problem")).to_contain_text("did not arrive")
    expect(page.locator("#status")).to_contain_text("The analysis failed.")
    page.locator("#retry").click()

    expect(page.locator("#status")).to_have_text("The request is stored.")
    assert len(keys) == 6
    assert len(set(keys)) == 1
    assert InferenceRequest.objects.exclude(pk=row.pk).count() == 1


def test_a_retry_that_is_refused_leaves_the_failed_request_with_the_sentence(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = failed(study)
    opened = opened_on(open_page, study)
    page = opened.page
    InferenceRequest.objects.filter(pk=row.pk).update(model="gone")
    page.locator("#retry").click()

    expect(page.locator("#problem")).to_have_text("No lab offers this model.")
    expect(page.locator("#status")).to_contain_text("The analysis failed.")
    expect(page.locator("#retry")).to_be_visible()
    assert InferenceRequest.objects.count() == 1


def test_a_click_on_what_a_colleague_has_asked_for_follows_that_request(
    open_page: OpenPages, study: StoredStudy
) -> None:
    one, other = opened_on(open_page, study), opened_on(open_page, study)
    one.page.locator("#analyse").click()
    expect(one.page.locator("#status")).to_have_text("The request is stored.")

    other.page.locator("#analyse").click()

    expect(other.page.locator("#status")).to_have_text("The request is stored.")
    assert InferenceRequest.objects.count() == 1
    assert other.sent[-1] == one.sent[-1]


def test_a_page_that_is_looked_at_again_learns_of_a_request_made_elsewhere(
    open_page: OpenPages, study: StoredStudy
) -> None:
    failed(study)
    opened = opened_on(open_page, study)
    page = opened.page
    new = request_of(study, "published")
    expect(page.locator("#status")).to_contain_text("The analysis failed.")

    page.evaluate("window.dispatchEvent(new Event('focus'))")

    expect(page.locator("#status")).to_have_text("The request is waiting for the lab.")
    assert opened.sent[-1] == {"type": "follow", "request_ids": [str(new.pk)]}


def test_a_result_that_is_being_read_does_not_give_way_to_a_request_made_elsewhere(
    open_page: OpenPages, study: StoredStudy
) -> None:
    completed(study)
    opened = opened_on(open_page, study)
    page = opened.page
    request_of(study, "published")

    with page.expect_response("**/api/v1/requests?*") as answer:
        page.evaluate("window.dispatchEvent(new Event('focus'))")

    assert json.loads(answer.value.text())["requests"][0]["state"] == "published"
    expect(page.locator("#status")).to_have_text("The analysis is complete.")
    expect(page.locator("#result")).to_be_visible()


def test_the_cancel_button_stays_where_it_is_while_the_sentence_changes(
    open_page: OpenPages, study: StoredStudy
) -> None:
    row = request_of(study, "published")
    opened = opened_on(open_page, study)
    page = opened.page
    expect(page.locator("#status")).to_have_text("The request is waiting for the lab.")
    place = page.locator("#cancel").bounding_box()

    opened.push(labs(online=True, condition="archive_away"))
    expect(page.locator("#status")).to_contain_text("does not answer")
    assert page.locator("#cancel").bounding_box() == place
    stages = page.locator("#stages").bounding_box()

    opened.push(labs(online=True))
    opened.push(event(row, state="accepted", version=2))
    expect(page.locator("#status")).to_have_text("The lab has taken the request.")
    before = page.locator("#stages").bounding_box()
    assert before != stages
    opened.push(event(row, state="cancelled", version=3))
    expect(page.locator("#cancel")).to_be_hidden()
    assert page.locator("#stages").bounding_box() == before


def test_what_must_fail_again_is_not_offered_again_and_says_what_the_lab_found(
    open_page: OpenPages, study: StoredStudy
) -> None:
    now = datetime.now(UTC)
    row = request_of(study, "failed", finished_at=now, failure_code="mixed_phase", lab="l")
    row.failure_detail = "slice 3 of post1 has another EchoTime than the others"
    row.save()
    page = opened_on(open_page, study).page

    expect(page.locator("#status")).to_contain_text("The slices of one phase do not belong")
    expect(page.locator("#failure-detail")).to_have_text(row.failure_detail)
    expect(page.locator("#retry")).to_be_hidden()
    # Another choice may be right.
    expect(page.locator("#analyse")).to_have_attribute("aria-disabled", "false")
