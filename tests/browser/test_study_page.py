"""The study page in a real browser, with its socket in the hands of the test."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from messages.lab import LabHeartbeat, ModelDescriptor
from tests.browser.conftest import COLUMNS, ROLES, ROWS, SLICES, OpenPage, until
from tests.browser.rows import completed, event, labs, request_of
from web.inference.models import InferenceRequest
from web.labs import registry
from web.labs.heartbeats import record_heartbeat
from web.results.outline import outline_path

pytestmark = pytest.mark.django_db(transaction=True)

#: Keeps every text of the banner: it may be gone again before anybody looks.
NOTE_BANNER = """() => {
    window.banner = [];
    const shown = document.getElementById("connection");
    new MutationObserver(() => shown.hidden || window.banner.push(shown.textContent))
        .observe(shown, {attributes: true, childList: true, characterData: true, subtree: true});
}"""


def path(page: Page) -> str | None:
    return page.locator("#outline .line").get_attribute("d")


def shows(page: Page, index: int) -> None:
    """Image, outline and slider agree on the slice."""
    expect(page.locator("#slice-image")).to_have_attribute("data-index", str(index))
    expect(page.locator("#outline")).to_have_attribute("data-index", str(index))
    expect(page.locator("#slice-slider")).to_have_js_property("value", str(index))


def test_a_stored_result_opens_on_the_largest_area_with_its_outline(open_page, study):
    completed(study)
    page = open_page().open(f"/studies/{study.study_id}/")

    shows(page, 6)
    expect(page.locator("#outline .line")).to_have_attribute("d", outline_path(study.mask[6]))
    expect(page.locator("#outline")).to_have_attribute("viewBox", f"0 0 {COLUMNS} {ROWS}")
    expect(page.locator("#volume-ml")).to_have_text("0.12")
    expect(page.locator("#diameter-mm")).to_have_text("7.3")
    expect(page.locator("#result-notice")).not_to_be_empty()


@pytest.mark.parametrize(("referred", "opened"), [(0, 1), (2, 2)])
def test_a_result_opens_on_the_phase_that_it_refers_to_unless_that_is_before_contrast(
    open_page, study, referred, opened
):
    """Results of earlier versions refer to the first phase, on which no tumour shines."""
    completed(study)
    made: OpenPage = open_page()

    def refers(route: Route) -> None:
        told = route.fetch().json()
        route.fulfill(json=told | {"phase": study.series_ids[referred]})

    made.page.route("**/overlay.json", refers)
    page = made.open(f"/studies/{study.study_id}/")
    shows(page, 6)
    pressed = page.locator("#phases [aria-pressed=true]")
    expect(pressed).to_have_attribute("data-phase", ROLES[opened])
    expect(page.locator("#slice-image")).to_have_attribute(
        "src", re.compile(f"series/{study.series_ids[opened]}/")
    )


def test_a_page_whose_script_has_not_come_takes_no_click(open_page, study):
    opened: OpenPage = open_page()
    opened.page.route("**/labrelay/study.js", lambda route: route.abort())
    opened.page.goto(opened.address + f"/studies/{study.study_id}/")

    expect(opened.page.locator("#analyse")).to_be_disabled()


def test_a_result_that_marks_no_tumour_is_not_called_one(open_page, study):
    row = completed(study)
    brain = ModelDescriptor(
        name="brain", version="1", sha256="0" * 64, roles=ROLES, labels=("brain",), notice=""
    )
    registry.confirm("lab1", "lab")
    record_heartbeat(
        LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(brain,), at=datetime.now(UTC))
    )
    row.result["model"]["name"] = row.model = "brain"
    row.save()
    page = open_page().open(f"/studies/{study.study_id}/")

    expect(page.locator("#verdict")).to_have_text("The model marked: brain.")
    expect(page.locator("#slices-label")).to_have_text("Marked slices")
    shows(page, 6)
    label = page.locator("#slice-slider")
    expect(label).to_have_attribute("aria-valuetext", re.compile("brain outlined"))


def test_the_keyboard_moves_the_slices_the_phases_and_the_outline(open_page, study):
    completed(study)
    page = open_page().open(f"/studies/{study.study_id}/")
    shows(page, 6)

    page.keyboard.press("k")
    shows(page, 5)
    assert path(page) == outline_path(study.mask[5])
    page.keyboard.press("k")
    shows(page, 4)
    assert path(page) == ""
    page.keyboard.press("j")
    shows(page, 5)

    page.locator("#slice-slider").focus()
    page.keyboard.press("ArrowDown")
    shows(page, 6)
    page.keyboard.press("End")
    shows(page, SLICES - 1)
    page.keyboard.press("Home")
    shows(page, 0)

    toggle = page.locator("#outline-toggle")
    page.keyboard.press("o")
    expect(toggle).to_have_attribute("aria-checked", "false")
    expect(page.locator("#outline")).to_be_hidden()
    page.keyboard.press("o")
    expect(page.locator("#outline")).to_be_visible()

    page.keyboard.press("4")
    expect(page.locator("#slice-image")).to_have_attribute(
        "src",
        page.url
        + f"series/{study.series_ids[3]}/slices/0.png?of={SLICES}&window={study.series_ids[1]}",
    )


def test_a_click_stores_the_request_and_says_that_it_is_safe_without_a_lab(open_page, study):
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    page.locator("#analyse").click()

    expect(page.locator("#status")).to_contain_text("stored safely")
    row = InferenceRequest.objects.get()
    assert [item["series_id"] for item in row.inputs] == list(study.series_ids)
    expect(page.locator("#analyse")).to_be_disabled()
    assert opened.sent[-1] == {"type": "follow", "request_ids": [str(row.pk)]}


def test_stages_change_without_a_reload_and_older_versions_are_dropped(open_page, study):
    row = request_of(study, "published")
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    expect(page.locator("#stages li[data-stage=published]")).to_have_attribute(
        "data-state", "current"
    )

    opened.push(labs(online=True))
    expect(page.locator("#labs")).to_have_text("Lab online")
    opened.push(event(row, state="inferring", version=5))
    expect(page.locator("#status")).to_have_text("The images are being analysed.")
    opened.push(event(row, state="downloading", version=4))
    expect(page.locator("#status")).to_have_text("The images are being analysed.")
    expect(page.locator("#stages li[data-stage=downloading]")).to_have_attribute(
        "data-state", "done"
    )

    failure = {"code": "out_of_memory", "reader": ""}
    opened.push(event(row, state="failed", version=6, failure=failure))
    expect(page.locator("#status")).to_contain_text("more memory")
    expect(page.locator("#analyse")).to_be_enabled()


def test_a_lost_connection_is_said_and_the_page_follows_again(open_page, study):
    row = request_of(study, "published")
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    expect(page.locator("#connection")).to_be_hidden()
    page.evaluate(NOTE_BANNER)

    opened.sockets[-1].close()
    page.wait_for_function("window.banner.some((text) => text.includes('interrupted'))")
    expect(page.locator("#connection")).to_be_hidden()

    assert len(opened.sockets) == 2
    assert opened.sent[-1] == {"type": "follow", "request_ids": [str(row.pk)]}


def test_a_socket_that_is_dead_without_a_word_is_noticed_and_replaced(open_page, study):
    row = request_of(study, "published")
    follow = {"type": "follow", "request_ids": [str(row.pk)]}
    opened: OpenPage = open_page()
    opened.page.clock.install()
    page = opened.open(f"/studies/{study.study_id}/")
    page.wait_for_function("document.getElementById('labs').textContent")
    until(page, lambda: opened.sent == [follow])

    page.clock.run_for(21_000)
    until(page, lambda: opened.sent == [follow] * 2)
    assert len(opened.sockets) == 1

    page.evaluate(NOTE_BANNER)
    opened.dead = opened.sockets[0]
    page.clock.run_for(50_000)
    page.wait_for_function("window.banner.some((text) => text.includes('interrupted'))")
    expect(page.locator("#connection")).to_be_hidden()
    assert len(opened.sockets) == 2
    assert opened.sent[-1] == follow


def test_the_list_says_that_its_connection_is_lost(open_page, study):
    opened: OpenPage = open_page()
    page = opened.open("/")
    until(page, lambda: opened.sent)
    page.evaluate(NOTE_BANNER)

    opened.sockets[-1].close()

    page.wait_for_function("window.banner.some((text) => text.includes('interrupted'))")
    expect(page.locator("#connection")).to_be_hidden()


def test_only_a_lab_of_the_requests_pool_counts_and_its_absence_is_always_said(open_page, study):
    row = request_of(study, "published")
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    until(page, lambda: opened.sent)
    status = page.locator("#status")

    opened.push(labs(online=True, pool="server"))
    expect(page.locator("#labs")).to_have_text("No lab online")
    expect(status).to_contain_text("stored safely")
    opened.push(event(row, state="inferring", version=2))
    expect(status).to_have_text(
        "No lab is connected at the moment. The request is kept and goes on when one comes."
    )
    opened.push(event(row, state="cancelling", version=3))
    expect(status).to_have_text(
        "The request is being cancelled. At the moment no lab is connected to confirm it."
    )
    opened.push(labs(online=True))
    expect(status).to_have_text("The request is being cancelled.")
    opened.push(labs(online=False))
    opened.push(event(row, state="cancelled", version=4))
    expect(status).to_have_text("The request was cancelled.")


def test_a_series_that_has_grown_shows_a_sentence_and_no_picture(open_page, study):
    completed(study)
    opened: OpenPage = open_page()
    # The page was made before the last instance came.
    opened.page.route("**/overlay.json", lambda route: route.abort())
    opened.page.route(
        f"**/studies/{study.study_id}/",
        lambda route: (
            (answer := route.fetch())
            and route.fulfill(
                response=answer,
                body=answer.text().replace(f'"slices": {SLICES}', f'"slices": {SLICES - 1}'),
            )
        ),
    )
    page = opened.open(f"/studies/{study.study_id}/")

    expect(page.locator("#screen-message")).to_contain_text("series has changed")
    expect(page.locator("#slice-image")).not_to_have_attribute("src", re.compile("."))


def test_an_outline_that_fails_is_tried_again_and_told_in_our_words(open_page, study):
    completed(study)
    opened: OpenPage = open_page()
    asked = []

    def answer(route: Route) -> None:
        asked.append(route)
        route.fulfill(status=502, body="<html>bad gateway</html>")

    opened.page.route("**/overlay.json", answer)
    page = opened.open(f"/studies/{study.study_id}/")

    expect(page.locator("#problem")).to_have_text("The outline could not be loaded.")
    assert len(asked) == 3


def test_the_notice_of_another_model_is_never_shown(open_page, study):
    row = completed(study)
    row.result["model"]["name"] = "gone"
    row.save()
    page = open_page().open(f"/studies/{study.study_id}/")

    expect(page.locator("#result-notice")).to_have_text("Not for clinical use.")


def test_a_click_whose_answer_is_lost_makes_one_request(open_page, study):
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    until(page, lambda: opened.sent)
    # A colleague's, of the same series: not the one that this click has made.
    other = request_of(study, "queued")
    keys = []

    def lose_two(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) <= 2:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    opened.page.route("**/api/v1/requests", lose_two)
    page.locator("#analyse").click()

    expect(page.locator("#status")).to_contain_text("The answer did not arrive.")
    until(page, lambda: len(opened.sent[-1]["request_ids"]) == 1)
    row = InferenceRequest.objects.exclude(pk=other.pk).get()
    assert opened.sent[-1]["request_ids"] == [str(row.pk)]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    expect(page.locator("#status")).to_contain_text("stored safely")


def test_a_second_click_after_an_unknown_outcome_is_the_same_click(open_page, study):
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    keys = []

    def lose_all(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()
        route.abort() if len(keys) <= 5 else route.continue_()

    opened.page.route("**/api/v1/requests", lose_all)
    # The pauses between the repeats are not waited for.
    page.evaluate("const later = setTimeout; window.setTimeout = (work) => later(work, 0)")
    page.locator("#analyse").click()
    expect(page.locator("#problem")).to_contain_text("did not arrive")
    page.locator("#analyse").click()

    expect(page.locator("#status")).to_contain_text("stored safely")
    assert len(keys) == 6
    assert len(set(keys)) == 1
    assert InferenceRequest.objects.count() == 1


def test_letters_act_in_the_viewer_only_and_the_button_keeps_the_focus(open_page, study):
    page = open_page().open(f"/studies/{study.study_id}/")
    shows(page, SLICES // 2)

    page.locator(".crumbs a").focus()
    page.keyboard.press("j")
    page.keyboard.press("4")
    page.locator("#viewer").focus()
    page.keyboard.press("k")
    shows(page, SLICES // 2 - 1)
    expect(page.locator("#phases button[aria-pressed=true]")).to_have_attribute(
        "data-phase", "post1"
    )

    page.locator("#analyse").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#analyse")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#analyse")).to_be_focused()
    expect(page.locator("#status")).to_contain_text("stored safely")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert InferenceRequest.objects.count() == 1


@pytest.mark.parametrize(("locale", "button"), [("ko-KR", "AI 분석"), ("en-US", "AI analysis")])
def test_the_language_is_the_browsers(open_page, study, locale, button):
    page = open_page(locale).open(f"/studies/{study.study_id}/")

    expect(page.locator("#analyse")).to_have_text(button)
    # The proposal filled every role, so the button can be used at once.
    expect(page.locator("#analyse")).to_be_enabled()
