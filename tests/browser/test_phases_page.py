"""The study page with all phases in one series, in a real browser."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from infra.local.orthanc import OrthancNode
from tests.browser.conftest import ROLES, OpenPage, segmentation
from tests.browser.rows import completed
from tests.dicom_factory import part10
from tests.integration.phased import (
    COLUMNS,
    ROWS,
    SLICES,
    Phased,
    four_phases,
    in_one_series,
    stored,
)
from web.inference.models import InferenceRequest
from web.results.outline import outline_path

pytestmark = pytest.mark.django_db(transaction=True)

KEYWORD = "TemporalPositionIdentifier"


@pytest.fixture(scope="module")
def phased(orthanc: OrthancNode) -> Phased:
    return in_one_series(orthanc)


def name_of(phased: Phased, number: int) -> str:
    return f"{phased.series_ids[0]}:{KEYWORD}:{number}"


def test_each_phase_of_one_series_is_proposed_offered_and_asked_for(
    open_page: Any, phased: Phased
) -> None:
    page = open_page().open(f"/studies/{phased.study_id}/")
    selects = page.locator("fieldset:not([hidden]) select[data-role]")
    expect(selects).to_have_count(4)
    for number, role in enumerate(ROLES, 1):
        select = page.locator(f"fieldset:not([hidden]) select[data-role={role}]")
        expect(select).to_have_value(name_of(phased, number))
    second = selects.nth(1).locator("option:checked")
    expect(second).to_have_text("3 · – · phase 2 of 4 · 10:16:35")
    expect(page.locator("tr[data-series-id] .use")).to_have_text(
        "Chosen for: Pre-contrast, Post-contrast 1, Post-contrast 2, Last post-contrast"
    )
    expect(page.locator("tr[data-series-id]")).to_contain_text("20 in 4 phases")
    expect(page.locator("#slice-label")).to_have_text(f"Slice 3 of {SLICES}")

    page.locator("#analyse").click()
    expect(page.locator("#status")).to_contain_text("stored safely")
    row = InferenceRequest.objects.get()
    assert [item["series_id"] for item in row.inputs] == list(phased.series_ids) * 4
    assert [item["phase_selector"] for item in row.inputs] == [
        {"keyword": KEYWORD, "value": str(number)} for number in (1, 2, 3, 4)
    ]


def test_phases_of_one_series_are_checked_before_the_click(open_page: Any, phased: Phased) -> None:
    page = open_page().open(f"/studies/{phased.study_id}/")
    selects = page.locator("fieldset:not([hidden]) select[data-role]")
    problem = page.locator("#problem")

    selects.nth(1).select_option(name_of(phased, 1))
    expect(problem).to_have_text("The same series and phase is chosen twice.")
    selects.nth(1).select_option(name_of(phased, 4))
    expect(problem).to_be_visible()
    selects.nth(3).select_option(name_of(phased, 2))
    # The server says it, with the phases by their names.
    expect(problem).to_have_text(
        'The phases are not in the order of their acquisition times: "Post-contrast 2" was '
        'acquired before "Post-contrast 1".'
    )
    expect(page.locator("#analyse")).to_have_attribute("aria-disabled", "true")
    selects.nth(1).select_option(name_of(phased, 2))
    selects.nth(3).select_option(name_of(phased, 4))
    expect(problem).to_be_hidden()


def test_what_is_only_doubtful_is_said_beside_the_button_which_stays_open(
    open_page: Any, orthanc: OrthancNode
) -> None:
    phases = four_phases()
    for ds in (ds for phase in phases for ds in phase.datasets):
        ds.AcquisitionTime = ds.ContentTime = "101500"
    study = stored(orthanc, phases)
    page = open_page("ko-KR").open(f"/studies/{study.study_id}/")
    selects = page.locator("fieldset:not([hidden]) select[data-role]")
    concerns = page.locator("#concerns")
    hints = page.locator("fieldset:not([hidden]) .hint")
    expect(hints.filter(has_text="직접 선택해 주세요")).to_be_visible()
    expect(concerns).to_be_hidden()

    for number, series in enumerate(study.series_ids):
        selects.nth(number).select_option(series)
    # Beside them it may be said that images are still arriving for the archive.
    same_time = concerns.locator("li").filter(has_text="촬영 시각이 같아")
    expect(same_time).to_have_count(3)
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#analyse")).to_have_attribute("aria-disabled", "false")
    page.locator("#analyse").click()
    expect(page.locator("#status")).to_contain_text("안전하게 저장되었으며")
    assert InferenceRequest.objects.get().study_id == study.study_id


def test_a_result_whose_series_now_holds_several_phases_is_said_and_breaks_nothing(
    open_page: Any, phased: Phased, orthanc: OrthancNode
) -> None:
    mask = np.zeros((SLICES, ROWS, COLUMNS), dtype=bool)
    mask[1, 3:8, 4:9] = True
    row = completed(Stored(phased, stored_segmentation(orthanc, phased, mask), mask))  # type: ignore[arg-type]
    opened: OpenPage = open_page()
    page = opened.page
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route(
        f"**/requests/{row.pk}/overlay.json",
        lambda route: route.fulfill(json=overlay_of(phased, mask)),
    )
    opened.open(f"/studies/{phased.study_id}/")

    expect(page.locator("#problem")).to_have_text(
        "The series of this result have changed: not all of its phases can be shown any more."
    )
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#largest")).to_be_hidden()
    page.locator("#viewer").press("ArrowDown")
    assert errors == []


def overlay_of(phased: Phased, mask: np.ndarray) -> dict[str, Any]:
    """An outline as the site drew it when the series was one phase."""
    return {
        "series_id": phased.series_ids[0],
        "phase": phased.series_ids[0],
        "slices": SLICES,
        "rows": ROWS,
        "columns": COLUMNS,
        "spacing": [0.8, 0.6],
        "outlines": {"1": outline_path(mask[1])},
        "areas": {"1": int(mask[1].sum())},
        "lesions": {"1": 1},
        "slices_with_tumor": [1],
        "orders": {},
        "counts": {},
    }


def stored_segmentation(orthanc: OrthancNode, phased: Phased, mask: np.ndarray) -> str:
    """Orthanc's id of a segmentation on the first phase."""
    seg = part10(segmentation(phased.phases[0], mask))
    with httpx.Client(base_url=orthanc.url, auth=(orthanc.user, orthanc.password)) as client:
        found: str = client.post("/instances", content=seg).raise_for_status().json()["ID"]
    return found


def test_the_outline_lies_on_the_slices_of_each_phase(
    open_page: Any, phased: Phased, orthanc: OrthancNode
) -> None:
    mask = np.zeros((SLICES, ROWS, COLUMNS), dtype=bool)
    mask[1, 3:8, 4:9] = True
    row = completed(Stored(phased, stored_segmentation(orthanc, phased, mask), mask))  # type: ignore[arg-type]
    for number, item in enumerate(row.inputs, 1):
        item["phase_selector"] = {"keyword": KEYWORD, "value": str(number)}
    row.save()
    opened: OpenPage = open_page()
    page = opened.open(f"/studies/{phased.study_id}/")

    expect(page.locator("#outline .line")).to_have_attribute("d", outline_path(mask[1]))
    expect(page.locator("#slice-label")).to_have_text(f"Slice 2 of {SLICES}")
    image = page.locator("#slice-image")
    expect(image).to_have_attribute("src", page.url + source(phased, 2, 1))
    page.keyboard.press("4")
    expect(image).to_have_attribute("src", page.url + source(phased, 4, 1))


def source(phased: Phased, number: int, index: int) -> str:
    """Where the page loads a slice of a phase, in the window of the second one."""
    window = name_of(phased, 2).replace(":", "%3A")
    return (
        f"series/{phased.series_ids[0]}/slices/{index}.png?of={SLICES}&window={window}"
        f"&phase={KEYWORD}%3A{number}"
    )


class Stored:
    """The study as the rows of the other pages have it: one series four times."""

    def __init__(self, phased: Phased, seg_instance_id: str, mask: np.ndarray) -> None:
        self.study_id = phased.study_id
        self.series_ids = phased.series_ids * 4
        self.seg_instance_id, self.mask = seg_instance_id, mask
