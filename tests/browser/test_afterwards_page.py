"""What the page and the list say of a result whose images changed, or that is gone or withdrawn."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import until
from tests.browser.rows import completed, event

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_result_of_other_images_says_so_and_leads_to_a_new_analysis(open_page, study):
    row = completed(study)
    opened = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    expect(page.get_by_test_id("verdict")).to_be_visible()
    expect(page.get_by_test_id("afterwards")).to_be_hidden()
    until(page, lambda: opened.sent)
    opened.push(event(row, version=row.version + 1, input_state="more"))
    expect(page.get_by_test_id("afterwards")).to_contain_text("holds more images")
    # The figures are of what was analysed, and stay.
    expect(page.locator("#volume-ml")).to_be_visible()
    page.get_by_role("button", name="Analyse again").click()
    expect(page.locator("#analyse")).to_be_focused()


def test_a_result_that_is_gone_shows_neither_figures_nor_an_overlay(open_page, study):
    row = completed(study)
    opened = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    expect(page.locator("#volume-ml")).to_be_visible()
    expect(page.get_by_test_id("afterwards")).to_be_hidden()
    until(page, lambda: opened.sent)
    opened.push(event(row, version=row.version + 1, result_state="gone"))
    expect(page.get_by_test_id("afterwards")).to_contain_text("no longer in the archive")
    expect(page.locator("#volume-ml")).to_be_hidden()
    expect(page.get_by_test_id("verdict")).to_be_hidden()
    expect(page.locator("#lesions")).to_be_hidden()


def test_a_withdrawn_result_says_why_in_korean_and_the_list_says_it_too(open_page, study):
    completed(
        study,
        result_state="withdrawn",
        withdrawn_at=datetime.now(UTC),
        withdrawn_reason="두 검사의 영상이 섞임",
    )
    opened = open_page(locale="ko-KR")
    page = opened.open(f"/studies/{study.study_id}/")
    expect(page.get_by_test_id("afterwards")).to_contain_text("철회되었습니다")
    expect(page.get_by_test_id("afterwards")).to_contain_text("두 검사의 영상이 섞임")
    expect(page.locator("#figures")).to_be_hidden()
    # What readers said of it is kept.
    expect(page.get_by_test_id("reader-verdict")).to_be_visible()
    page = opened.open("/")
    expect(page.locator("tr", has_text="철회됨")).to_be_visible()


def test_the_list_follows_what_becomes_of_a_result(open_page, study):
    row = completed(study)
    opened = open_page()
    page = opened.open("/")
    badge = page.locator(f'tr[data-study-id="{study.study_id}"] .badge')
    expect(badge).to_have_text("Completed")
    until(page, lambda: opened.sent)
    opened.push(event(row, version=row.version + 1, input_state="deleted"))
    expect(badge).to_have_text("Images changed")
    opened.push(event(row, version=row.version + 2, input_state="same"))
    expect(badge).to_have_text("Completed")
