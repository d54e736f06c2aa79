"""The study page in a real browser, with its socket in the hands of the test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import COLUMNS, ROLES, ROWS, SLICES, OpenPage, StoredStudy
from web.archive.outline import outline_path
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView

pytestmark = pytest.mark.django_db(transaction=True)


def request_of(study: StoredStudy, state: str, **columns: Any) -> InferenceRequest:
    return InferenceRequest.objects.create(
        pool="lab",
        model="breast_dce_phantom",
        study_id=study.study_id,
        study_uid="1.2",
        inputs=[
            {"role": role, "series_id": series, "series_uid": "1.2", "instance_count": SLICES}
            for role, series in zip(ROLES, study.series_ids, strict=True)
        ],
        deadline_s=60,
        state=state,
        **columns,
    )


def completed(study: StoredStudy) -> InferenceRequest:
    return request_of(
        study,
        "completed",
        finished_at=datetime.now(UTC),
        lab="lab1",
        result={
            "seg_instance_id": study.seg_instance_id,
            "sr_instance_id": study.seg_instance_id,
            "tumor_detected": True,
            "volume_ml": 0.123,
            "volume_voxels": int(study.mask.sum()),
            "longest_diameter_mm": 7.25,
            "slices": SLICES,
            "slices_with_tumor": 2,
            "model": {"name": "breast_dce_phantom", "version": "1", "sha256": "ab" * 32},
            "stage_seconds": {"infer": 1.5},
        },
    )


def event(row: InferenceRequest, **changes: Any) -> dict[str, Any]:
    return {"type": "event", "request": RequestView.of(row).model_dump(mode="json") | changes}


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
        "src", page.url + f"series/{study.series_ids[3]}/slices/0.png?window={study.series_ids[1]}"
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

    opened.push(event(row, state="inferring", version=5))
    expect(page.locator("#status")).to_have_text("The images are being analysed.")
    opened.push(event(row, state="downloading", version=4))
    opened.push({"type": "lab", "labs": [{"lab": "l", "online": True, "device": "cpu"}]})
    expect(page.locator("#labs")).to_have_text("Lab online")
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

    opened.sockets[-1].close()
    page.wait_for_function("document.getElementById('connection').hidden === false")
    expect(page.locator("#connection")).to_be_hidden(timeout=10_000)

    assert len(opened.sockets) == 2
    assert opened.sent[-1] == {"type": "follow", "request_ids": [str(row.pk)]}


@pytest.mark.parametrize(("locale", "button"), [("ko-KR", "AI 분석"), ("en-US", "AI analysis")])
def test_the_language_is_the_browsers(open_page, study, locale, button):
    page = open_page(locale).open(f"/studies/{study.study_id}/")

    expect(page.locator("#analyse")).to_have_text(button)
    # The proposal filled every role, so the button can be used at once.
    expect(page.locator("#analyse")).to_be_enabled()
