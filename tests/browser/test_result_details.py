"""What the page shows beside the outline of a result: lesions, origin, verdicts, later results.

The reports are told by the test in the form of the API, which has tests of its own.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from messages import identity
from tests.browser.conftest import ROLES, OpenPage, StoredStudy, until
from tests.browser.rows import completed, event, request_of
from web.inference.models import InferenceRequest
from web.inference.verdict import Verdict

pytestmark = pytest.mark.django_db(transaction=True)

#: Of the phases, in role order.
LABELS = ("Pre-contrast", "Post-contrast 1", "Post-contrast 2", "Last post-contrast")


def lesion(number: int, means: tuple[float, ...], wash_out: str | None) -> dict[str, Any]:
    seconds = (0.0, 90.0, 180.0, 360.0)
    return {
        "number": number,
        "label": f"lesion {number}",
        "volume_ml": 12.3456 / number**4,
        "longest_diameter_mm": 31.26 / number,
        "longest_in_plane_mm": 28.04 / number,
        "kinetics": {
            "points": [
                {"role": role, "label": label, "mean": mean, "seconds": at}
                for role, label, mean, at in zip(ROLES, LABELS, means, seconds, strict=True)
            ],
            "wash_in_percent": 100 * (means[1] / means[0] - 1),
            "wash_out": wash_out,
        },
    }


def report_of(row: InferenceRequest) -> dict[str, Any]:
    return {
        "request_id": str(row.pk),
        "report": {
            "instance_id": "-".join(["0123abcd"] * 5),
            "series_uid": identity.report_series_uid(row.pk),
            "sop_instance_uid": identity.report_instance_uid(row.pk),
        },
        "verification": "UNVERIFIED",
        "tumor_detected": True,
        "volume_ml": 12.5,
        "longest_diameter_mm": 31.26,
        "lesions": [
            lesion(1, (210.0, 480.0, 455.0, 400.0), "washout") | {"laterality": "left"},
            lesion(2, (180.0, 300.0, 320.0, 380.0), "persistent")
            | {"laterality": "not_determined"},
            lesion(3, (190.0, 350.0, 352.0, 348.0), "plateau") | {"laterality": "not_stated"},
        ],
        "left_out": 2,
        "origin": {
            "model": "breast_dce_phantom",
            "version": "1.0.0",
            "bundle_sha256": "ab" * 32,
            "weights": [{"file": "models/model.pt", "sha256": "cd" * 32}],
            "phases": [
                {"role": role, "label": label, "series_uid": f"1.2.826.0.1.{n}", "selector": ""}
                for n, (role, label) in enumerate(zip(ROLES, LABELS, strict=True))
            ],
            "lab": "lab1",
            "device": "cuda:0",
            "labrelay": "0.1.0",
            "threshold": "0.5",
            "smallest_mm3": "10",
            "created": "2026-11-23T10:20:30+09:00",
            "notice": "Simulated data. Not for clinical use.",
        },
        "replaces": None,
    }


def opened_on(
    make: Any, study: StoredStudy, report: dict[str, Any] | None, **options: Any
) -> OpenPage:
    """The study's page; without a report the site's own answer."""
    opened: OpenPage = make(**options)
    if report is not None:
        opened.page.route("**/report", lambda route: route.fulfill(json=report))
    opened.open(f"/studies/{study.study_id}/")
    return opened


def cells(page: Page) -> list[list[str]]:
    rows = page.locator("#lesion-rows tr")
    expect(rows.first).to_be_visible()
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def test_each_lesion_has_its_line_and_its_curve(open_page, study):
    row = completed(study)
    page = opened_on(open_page, study, report_of(row)).page

    assert cells(page) == [
        ["1\nLeft breast", "12.35", "31.3", "28.0", "129", "Wash-out"],
        ["2\nNot determined", "0.77", "15.6", "14.0", "67", "Persistent"],
        ["3\nNot stated", "0.15", "10.4", "9.3", "84", "Plateau"],
    ]
    expect(page.locator("#left-out")).to_contain_text("2")
    expect(page.locator("#curve .curve")).to_have_count(3)
    expect(page.locator("#curve circle")).to_have_count(12)
    expect(page.locator("#curve circle title").nth(1)).to_have_text(
        "Lesion 1, Post-contrast 1 (90 s): 480.0"
    )
    expect(page.locator("#curve")).to_have_accessible_name(
        "Mean signal by phase. Lesion 1: Pre-contrast 210, Post-contrast 1 480, Post-contrast 2 "
        "455, Last post-contrast 400. Lesion 2: Pre-contrast 180, Post-contrast 1 300, "
        "Post-contrast 2 320, Last post-contrast 380. Lesion 3: Pre-contrast 190, "
        "Post-contrast 1 350, Post-contrast 2 352, Last post-contrast 348."
    )
    expect(page.locator("#result-notice")).to_have_text("Simulated data. Not for clinical use.")


def test_a_curve_runs_in_time_and_stays_in_its_frame(open_page, study):
    row = completed(study)
    page = opened_on(open_page, study, report_of(row)).page
    expect(page.locator("#curve circle")).to_have_count(12)
    first = page.locator("#curve .curve").first.locator("circle")
    xs = [float(dot.get_attribute("cx") or "nan") for dot in first.all()]
    ys = [float(dot.get_attribute("cy") or "nan") for dot in first.all()]
    # 0, 90, 180 and 360 s: the last step is twice the others. More signal is higher up.
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    assert xs[3] - xs[2] == pytest.approx(2 * (xs[1] - xs[0]))
    assert ys[0] > ys[3] > ys[2] > ys[1]
    box = [
        float(value) for value in (page.locator("#curve").get_attribute("viewBox") or "").split()
    ]
    assert 0 < min(xs) < max(xs) < box[2]
    assert 0 < min(ys) < max(ys) < box[3]


def test_without_times_the_phases_stand_side_by_side(open_page, study):
    row = completed(study)
    report = report_of(row)
    for one in report["lesions"]:
        for point in one["kinetics"]["points"]:
            point["seconds"] = None
    page = opened_on(open_page, study, report).page
    expect(page.locator("#curve-note")).to_contain_text("do not tell the times")
    expect(page.locator("#curve circle")).to_have_count(12)
    first = page.locator("#curve .curve").first.locator("circle")
    xs = [float(dot.get_attribute("cx") or "nan") for dot in first.all()]
    assert xs[3] - xs[2] == pytest.approx(xs[1] - xs[0])


def test_of_a_model_of_one_phase_no_curves_are_shown(open_page, study):
    row = completed(study)
    report = report_of(row)
    for one in report["lesions"]:
        # Nor a side: it marks something else than the breast.
        one["kinetics"] = one["laterality"] = None
    page = opened_on(open_page, study, report).page
    assert cells(page)[0][:4] == ["1", "12.35", "31.3", "28.0"]
    expect(page.locator("#curves")).to_be_hidden()
    expect(page.locator("th.kinetic").first).to_be_hidden()


def test_where_the_result_comes_from_is_as_the_report_states_it(open_page, study):
    row = completed(study)
    page = opened_on(open_page, study, report_of(row)).page
    page.get_by_text("How it was computed").click()
    origin = page.locator("#origin")
    for words in ("ab" * 32, "cd" * 32, "1.2.826.0.1.3", "lab1", "cuda:0", "0.1.0", "10 mm³"):
        expect(origin).to_contain_text(words)
    expect(origin).to_contain_text("Not verified by a person")
    expect(origin).to_contain_text(identity.report_instance_uid(row.pk))


def test_an_older_report_says_that_it_measures_all_lesions_as_one(open_page, study):
    row = completed(study)
    report = report_of(row) | {"lesions": None, "left_out": None}
    report["origin"] |= {"device": "", "weights": [], "created": "2026-11-23T01:38:54"}
    page = opened_on(open_page, study, report).page
    expect(page.locator("#details-note")).to_contain_text("earlier version")
    expect(page.locator("#lesions")).to_be_hidden()
    page.get_by_text("How it was computed").click()
    expect(page.locator("#origin")).to_contain_text("2026-11-23 01:38:54")
    expect(page.locator("#origin")).to_contain_text("Not stated")


def test_a_report_that_is_not_there_is_said_and_the_figures_stand(open_page, study):
    completed(study)
    page = opened_on(open_page, study, None).page
    expect(page.locator("#details-note")).to_have_text(
        "The stored result is no longer in the archive."
    )
    expect(page.locator("#volume-ml")).to_have_text("0.12")
    expect(page.locator("#lesions")).to_be_hidden()


def test_a_report_is_asked_for_again_when_the_archive_was_away(open_page, study):
    row = completed(study)
    opened: OpenPage = open_page()
    answers = [503, 200]

    def answer(route: Route) -> None:
        status = answers.pop(0)
        route.fulfill(status=status, json=report_of(row) if status == 200 else {"error": {}})

    opened.page.route("**/report", answer)
    opened.open(f"/studies/{study.study_id}/")
    expect(opened.page.locator("#lesion-rows tr")).to_have_count(3)
    assert not answers


def test_a_reader_rejects_a_result_with_a_reason(open_page, study):
    row = completed(study)
    page = opened_on(open_page, study, report_of(row)).page
    expect(page.locator("#verdict-now")).to_contain_text("No reader")
    page.get_by_role("button", name="Reject", exact=True).click()
    expect(page.locator("#verdict-note")).to_have_text("Please say why the result is rejected.")
    expect(page.locator("#verdict-text")).to_be_focused()
    assert not Verdict.objects.exists()

    page.locator("#verdict-text").fill("<b>혈관</b>\nNot a lesion.")
    page.get_by_role("button", name="Reject", exact=True).click()
    expect(page.locator("#verdict-now")).to_contain_text("Rejected by reader")
    # As it was typed: no markup, and its lines.
    expect(page.locator("#verdict-reason")).to_have_text("<b>혈관</b>\nNot a lesion.")
    expect(page.locator("#verdict-text")).to_have_value("")
    assert Verdict.objects.get().text == "<b>혈관</b>\nNot a lesion."

    page.get_by_role("button", name="Accept", exact=True).click()
    expect(page.locator("#verdict-now")).to_contain_text("Accepted by reader")
    expect(page.locator("#verdict-count")).to_have_text("2")
    page.reload()
    expect(page.locator("#verdict-now")).to_contain_text("Accepted by reader")


def test_a_verdict_whose_answer_was_lost_is_stored_once(open_page, study):
    row = completed(study)
    opened = opened_on(open_page, study, report_of(row))
    page, lost = opened.page, [True]
    expect(page.locator("#verdict-now")).to_contain_text("No reader")

    def lose(route: Route) -> None:
        if route.request.method == "POST" and lost.pop():
            route.fetch()
            lost.append(False)
            route.abort()
        else:
            lost.append(False)
            route.fallback()

    page.route("**/verdicts", lose)
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(page.locator("#verdict-note")).to_have_text("The verdict is stored.")
    assert Verdict.objects.count() == 1


def test_a_verdict_given_elsewhere_shows_without_moving_the_slices(open_page, study):
    row = completed(study)
    opened = opened_on(open_page, study, report_of(row))
    page = opened.page
    expect(page.locator("#slice-image")).to_have_attribute("data-index", "6")
    expect(page.locator("#verdict-now")).to_contain_text("No reader")
    page.locator("#verdict-text").fill("half a sentence")
    page.locator("#slice-slider").focus()
    page.keyboard.press("Home")
    expect(page.locator("#slice-image")).to_have_attribute("data-index", "0")

    Verdict.objects.create(request=row, decision="rejected", text="A vessel.")
    until(page, lambda: opened.sockets)
    opened.push(event(row))
    expect(page.locator("#verdict-reason")).to_have_text("A vessel.")
    expect(page.locator("#slice-image")).to_have_attribute("data-index", "0")
    expect(page.locator("#verdict-text")).to_have_value("half a sentence")


def test_an_open_page_is_told_that_a_later_result_replaces_this_one(open_page, study):
    older = completed(study)
    opened = opened_on(open_page, study, report_of(older))
    page = opened.page
    expect(page.locator("#lesion-rows tr")).to_have_count(3)
    expect(page.locator("#superseded")).to_be_hidden()

    new = completed(study)
    new.result["volume_ml"] = 0.456
    new.save()
    until(page, lambda: opened.sockets)
    opened.push(event(older))
    expect(page.locator("#superseded")).to_contain_text("replaces this result")
    expect(page.locator("#volume-ml")).to_have_text("0.12")

    page.get_by_role("button", name="Show the later result").click()
    expect(page.locator("#volume-ml")).to_have_text("0.46")
    expect(page.locator("#superseded")).to_be_hidden()
    until(page, lambda: opened.sent[-1]["request_ids"] == [str(new.pk)])


def test_all_results_of_the_study_are_listed_and_each_can_be_looked_at(open_page, study):
    older = completed(study)
    completed(study)
    page = opened_on(open_page, study, report_of(older)).page
    page.get_by_text("All results of this study").click()
    lines = page.locator("#earlier-lines li")
    expect(lines).to_have_count(2)
    expect(lines.nth(0)).to_contain_text("Shown now")
    expect(lines.nth(1)).to_contain_text("Replaced by a later one")

    lines.nth(1).get_by_role("button").click()
    expect(page.locator("#superseded")).to_be_visible()
    expect(lines.nth(1)).to_contain_text("Shown now")
    expect(lines.nth(0)).not_to_contain_text("Shown now")


def test_a_later_click_that_failed_leaves_the_results_before_it_within_reach(open_page, study):
    older = completed(study)
    request_of(study, "failed", failure_code="geometry_mismatch")
    page = opened_on(open_page, study, report_of(older)).page
    expect(page.locator("#result")).to_be_hidden()
    page.get_by_text("All results of this study").click()
    lines = page.locator("#earlier-lines li")
    expect(lines).to_have_count(1)
    expect(page.locator("#earlier-note")).to_be_hidden()

    lines.first.get_by_role("button").click()
    expect(page.locator("#volume-ml")).to_have_text("0.12")
    expect(lines.first).to_contain_text("Shown now")


def test_the_viewer_opens_on_the_result_that_the_page_shows(open_page, study):
    older = completed(study)
    newer = completed(study)
    page = opened_on(open_page, study, report_of(older)).page
    link = page.get_by_test_id("open-viewer")
    expect(link).to_have_attribute("href", re.compile(f"request={newer.pk}$"))
    page.get_by_text("All results of this study").click()
    page.locator("#earlier-lines button").nth(1).click()
    expect(link).to_have_attribute("href", re.compile(f"request={older.pk}$"))


def test_the_details_speak_korean(open_page, study):
    row = completed(study)
    page = opened_on(open_page, study, report_of(row), locale="ko-KR").page
    assert [line[5] for line in cells(page)] == ["유출형", "지속형", "정체형"]
    page.locator("#result details summary").first.click()
    for words in (
        "왼쪽 유방",
        "판정 불가",
        "기록 없음",
        "판독자 판정",
        "이유 또는 의견",
        "시간-신호강도 곡선",
        "사람이 확인하지 않음",
    ):
        expect(page.locator("#result")).to_contain_text(words)
    english = page.locator("#result").evaluate(
        "panel => [...panel.querySelectorAll('dt, th, h3, button, label, summary, figcaption')]"
        ".map(one => one.textContent).filter(words => /[a-z]{4,}/.test(words))"
    )
    # The labels of the phases come with the report, which is the test's.
    allowed = ("breast_dce_phantom", "models/model.pt", "Labrelay", "contrast")
    assert [words for words in english if not any(one in words for one in allowed)] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_of_the_details_stands_outside_the_page(open_page, study, width):
    row = completed(study)
    viewport = {"width": width, "height": 900}
    page = opened_on(open_page, study, report_of(row), viewport=viewport).page
    expect(page.locator("#lesion-rows tr")).to_have_count(3)
    page.locator("#result details summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator("#lesions")
    assert table.evaluate("one => one.scrollWidth <= one.clientWidth")
