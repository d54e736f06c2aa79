"""What the study page says of a request, state by state, with its socket in the test's hands."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from messages.failures import FAILURE_TEXTS, FailureCode
from tests.browser.conftest import OpenPage, StoredStudy, until
from tests.browser.rows import completed, event, labs, request_of
from web.inference.models import InferenceRequest

pytestmark = pytest.mark.django_db(transaction=True)

OpenPages = Callable[..., OpenPage]
Told = Callable[..., tuple[OpenPage, InferenceRequest]]

#: The codes that a lab tries again, and how the page begins or ends its sentence on them.
TRIED_AGAIN = {
    "archive_unavailable": ("because the image archive did not answer.", "응답하지 않아"),
    "out_of_memory": ("because the lab's machine had too little memory.", "부족하여"),
    "inference_timeout": ("because the analysis took too long.", "너무 길어"),
    "worker_crashed": ("because the analysis program stopped unexpectedly.", "종료되어"),
    "upload_rejected": ("because the archive did not store the result.", "저장하지 않아"),
}


@pytest.fixture
def told(open_page: OpenPages, study: StoredStudy) -> Told:
    """A function that makes a page, with a lab online, and the published request it follows."""

    def make(locale: str = "en-US") -> tuple[OpenPage, InferenceRequest]:
        row = request_of(study, "published")
        opened = open_page(locale, timezone_id="Asia/Seoul")
        opened.open(f"/studies/{study.study_id}/")
        until(opened.page, lambda: opened.sent)
        opened.push(labs(online=True))
        return opened, row

    return make


def failure(code: str) -> dict[str, str]:
    return {"code": code, "reader": ""}


def in_minutes(minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("condition", "bar", "sentence"),
    [
        ("serving", "Lab online", "The request is waiting for the lab."),
        ("a_new_word", "Lab online", "The request is waiting for the lab."),
        (
            "archive_away",
            "Lab waits for the archive",
            "The lab waits for the image archive, which does not answer.",
        ),
        (
            "draining",
            "Lab in maintenance",
            "The lab is in maintenance and takes no new requests.",
        ),
    ],
)
def test_a_request_that_waits_for_the_lab_says_why_none_takes_it(
    told: Told, condition: str, bar: str, sentence: str
) -> None:
    opened, _row = told()
    opened.push(labs(online=True, condition=condition))

    expect(opened.page.locator("#labs")).to_have_text(bar)
    expect(opened.page.locator("#status")).to_contain_text(sentence)


@pytest.mark.parametrize(
    ("locale", "sentence"),
    [
        ("en-US", "Images of a chosen series are still arriving."),
        ("ko-KR", "아직 전송되는 중입니다"),
    ],
)
def test_a_request_that_waits_for_its_images_says_so_whatever_the_labs_do(
    told: Told, locale: str, sentence: str
) -> None:
    opened, row = told(locale)
    status = opened.page.locator("#status")
    held = {"state": "queued", "waits_for": "series_arriving", "published_at": None}
    opened.push(event(row, version=2, **held))
    expect(status).to_contain_text(sentence)
    opened.push(labs(online=False))
    expect(status).to_contain_text(sentence)

    opened.push(labs(online=True))
    opened.push(event(row, version=3, state="queued", waits_for="a_new_word"))
    expect(status).not_to_contain_text(sentence)
    opened.push(event(row, version=4, state="queued", waits_for=None))
    expect(status).not_to_contain_text(sentence)


def test_one_lab_that_takes_requests_is_enough(told: Told) -> None:
    opened, _row = told()
    away = labs(online=True, condition="archive_away")
    opened.push(away)
    expect(opened.page.locator("#labs")).to_have_text("Lab waits for the archive")

    other = {**away["labs"][0], "lab": "other", "condition": "serving"}
    opened.push({"type": "lab", "labs": [*away["labs"], other]})

    expect(opened.page.locator("#labs")).to_have_text("Lab online")
    expect(opened.page.locator("#status")).to_have_text("The request is waiting for the lab.")


def test_a_lab_that_holds_a_request_and_waits_for_the_archive_does_not_load_images(
    told: Told,
) -> None:
    opened, row = told()
    status = opened.page.locator("#status")
    opened.push(event(row, state="downloading", version=2, lab="l"))
    expect(status).to_have_text("The lab is loading the images.")

    opened.push(labs(online=True, condition="archive_away"))
    expect(status).to_contain_text("The image archive does not answer at the moment.")
    opened.push(event(row, state="inferring", version=3, lab="l"))
    expect(status).to_have_text("The images are being analysed.")


@pytest.mark.parametrize(("locale", "which"), [("en-US", 0), ("ko-KR", 1)])
def test_the_next_try_is_told_with_its_time_and_reason(told: Told, locale: str, which: int) -> None:
    opened, row = told(locale)
    status = opened.page.locator("#status")
    # 14:02 in Seoul, on a day that is still to come.
    at = datetime(2099, 5, 17, 5, 2, 31, tzinfo=UTC).isoformat()
    time = ("The next try is at 2:02\\sPM, ", "오후 2:02에 다시 시도합니다\\.")[which]

    for version, (code, reasons) in enumerate(TRIED_AGAIN.items(), start=2):
        opened.push(
            event(
                row,
                state="waiting",
                version=version,
                next_try_at=at,
                failure=failure(code),
            )
        )
        expect(status).to_have_text(re.compile(time))
        expect(status).to_contain_text(reasons[which])


def test_any_other_code_is_told_before_the_time_of_the_next_try(
    told: Told,
) -> None:
    opened, row = told()
    at = datetime(2099, 5, 17, 5, 2, tzinfo=UTC).isoformat()
    opened.push(
        event(
            row,
            state="waiting",
            version=2,
            next_try_at=at,
            failure={"code": "a_new_code", "reader": "The moon is full."},
        )
    )

    expect(opened.page.locator("#status")).to_have_text(
        re.compile(r"^The moon is full\. The analysis did not succeed .* at 2:02\sPM\.$")
    )


def test_a_try_that_is_due_is_no_longer_promised_for_a_time_that_is_past(
    open_page: OpenPages, study: StoredStudy
) -> None:
    request_of(study, "waiting", next_try_at=in_minutes(1), failure_code="out_of_memory")
    opened = open_page()
    opened.page.clock.install()
    page = opened.open(f"/studies/{study.study_id}/")
    until(page, lambda: opened.sent)
    opened.push(labs(online=True))
    expect(page.locator("#status")).to_contain_text("The next try is at")

    page.clock.run_for(90_000)

    expect(page.locator("#status")).to_have_text(
        "The next try is due. The request is waiting for the lab."
    )
    opened.push(labs(online=False))
    expect(page.locator("#status")).to_contain_text("No lab is online.")


@pytest.mark.parametrize(
    ("code", "beginning"),
    [
        ("expired", "The request has expired."),
        ("deadline_exceeded", "The analysis was stopped."),
        ("geometry_mismatch", "The analysis failed."),
    ],
)
def test_an_end_without_a_result_is_told_with_its_reason(
    told: Told, code: str, beginning: str
) -> None:
    opened, row = told()
    opened.push(event(row, state="failed", version=2, failure=failure(code)))

    reason = FAILURE_TEXTS[FailureCode(code)].reader("en")
    expect(opened.page.locator("#status")).to_have_text(f"{beginning} {reason}")


def test_a_request_that_was_given_up_asks_for_the_staff(told: Told) -> None:
    opened, row = told()
    opened.push(event(row, state="dead", version=2, failure=failure("worker_crashed")))

    expect(opened.page.locator("#status")).to_have_text(
        "The request was given up. The analysis program stopped unexpectedly. "
        "Please tell the administrator. Retry makes a new request."
    )
    expect(opened.page.locator("#retry")).to_be_visible()


def test_a_result_that_was_faster_than_the_cancel_says_so(
    open_page: OpenPages, study: StoredStudy
) -> None:
    completed(study, cancel_asked_at=datetime.now(UTC))
    page = open_page().open(f"/studies/{study.study_id}/")

    expect(page.locator("#status")).to_have_text(
        "The analysis is complete. "
        "Too late to cancel: the result was stored before the lab heard of it."
    )
    expect(page.locator("#volume-ml")).to_have_text("0.12")


def test_a_wait_of_hours_is_told_in_hours(open_page: OpenPages, study: StoredStudy) -> None:
    row = request_of(study, "published")
    opened = open_page()
    page = opened.open(f"/studies/{study.study_id}/")
    until(page, lambda: opened.sent)
    opened.push(event(row, version=2, created_at=in_minutes(-185).isoformat()))

    expect(page.locator("#elapsed")).to_have_text("3 h 5 min")


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"state": "cancelling"}, "Being cancelled"),
        ({"state": "failed", "failure_code": "expired"}, "Expired"),
        ({"state": "failed", "failure_code": "too_large"}, "Failed"),
    ],
)
def test_the_list_has_a_word_for_it_at_once_and_when_told(
    open_page: OpenPages, study: StoredStudy, columns: dict[str, Any], label: str
) -> None:
    row = request_of(study, **columns)
    opened = open_page()
    page = opened.open("/")
    badge = page.locator(f"tr[data-study-id='{study.study_id}'] .badge")
    expect(badge).to_have_text(label)

    opened.push(event(row, state="published", version=2, failure=None))
    expect(badge).to_have_text("Waiting for the lab")
    opened.push(event(row, version=3))
    expect(badge).to_have_text(label)
