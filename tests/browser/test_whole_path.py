"""A reader in a real browser, from the log-in to the outline, through every real part."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from scipy import ndimage

from infra.demo import web
from infra.demo.stack import PAGE_USER, Ports, Stack
from infra.demo.study import ensure_stored
from infra.phantom.grid import Grid
from tests.asks_at_once import ASKS_AT_ONCE

#: A plain phantom that no training saw, with one tumour of 21.8 mm.
SEED = 15

#: Milliseconds for one analysis with the bundle that ships, on a busy machine.
ANALYSIS_MS = 240_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), Ports.free(), web_settings=ASKS_AT_ONCE)
    try:
        stack.start(lambda _text: None)
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def phantom(stack: Stack) -> dict[str, Any]:
    return ensure_stored(
        stack.orthanc, stack.root / "phantoms", SEED, lambda _text: None, Grid(64, 192)
    )


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    context = chromium.new_context(locale="ko-KR", viewport={"width": 1360, "height": 1000})
    page = context.new_page()
    page.goto(stack.url)
    page.get_by_role("textbox").first.fill(PAGE_USER)
    page.locator("input[type=password]").fill(stack.page_password)
    page.locator("button[type=submit]").click()
    yield page
    context.close()


def test_a_click_ends_in_an_outline_on_the_tumour_without_a_reload(
    page: Page, stack: Stack, phantom: dict[str, Any], tmp_path: Path
) -> None:
    page.locator(f"a[href='/studies/{phantom['study_id']}/']").first.click()
    button = page.locator("#analyse")
    expect(button).to_contain_text("AI 분석")
    page.evaluate(
        """() => {
            window.loadedOnce = true;
            window.told = [];
            const status = document.querySelector("#status");
            new MutationObserver(() => window.told.push(status.textContent.trim()))
                .observe(status, {childList: true, characterData: true, subtree: true});
        }"""
    )
    button.click()
    expect(page.locator("#volume-ml")).to_be_visible(timeout=ANALYSIS_MS)
    assert float(page.locator("#volume-ml").inner_text()) > 1
    assert float(page.locator("#diameter-mm").inner_text()) > 15

    assert page.evaluate("window.loadedOnce"), "the page was loaded again"
    told = list(dict.fromkeys(page.evaluate("window.told")))
    assert len(told) >= 4, f"the progress text hardly changed: {told}"
    assert "모의 팬텀" in page.locator("main").inner_text(), "the notice is not shown"

    with np.load(phantom["truth"]) as file:
        truth = file["truth"].astype(bool)
    index = int(truth.sum(axis=(1, 2)).argmax())
    shown = int(page.locator("#slice-image").get_attribute("data-index") or -1)
    assert abs(shown - index) <= 3, "the page did not open on the tumour"

    go_to(page, index)
    inside = filled_outline(page)
    expected = scaled(truth[index], inside.shape)
    overlap = 2 * (inside & expected).sum() / (inside.sum() + expected.sum())
    assert overlap > 0.7, f"the outline overlaps the truth by {overlap:.2f}"

    empty = int(np.flatnonzero(~truth.any(axis=(1, 2)))[0])
    go_to(page, empty)
    assert filled_outline(page).sum() == 0, "there is an outline on a slice without tumour"

    page.locator("#lesion-rows button").first.click()
    image = page.locator("#slice-image")
    expect(image).not_to_have_attribute("data-index", str(empty))
    assert abs(int(image.get_attribute("data-index") or -1) - index) <= 3, "not the lesion's slice"


def go_to(page: Page, index: int) -> None:
    """Move the slider and wait until picture and outline are of that slice."""
    page.locator("#slice-slider").fill(str(index))
    page.wait_for_function(
        """i => ["#slice-image", "#outline"].every(
            (place) => document.querySelector(place).dataset.index === i)""",
        arg=str(index),
    )


def filled_outline(page: Page) -> NDArray[np.bool_]:
    """Pixels of the shown slice that the outline encloses: what differs with it on and off."""
    with_it = picture(page, outline=True)
    without = picture(page, outline=False)
    line = np.abs(with_it.astype(int) - without.astype(int)).max(axis=-1) > 40
    return ndimage.binary_fill_holes(line)


def picture(page: Page, *, outline: bool) -> NDArray[np.uint8]:
    """The slice as the browser paints it, with or without the outline, by the page's switch."""
    page.locator("#outline-toggle").set_checked(outline, force=True)
    # Two frames: the second begins once the first is on the screen.
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    box = page.locator("#slice-image").bounding_box()
    assert box is not None
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB"))


def scaled(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask in the pixels of the screen."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.NEAREST)) > 127


def test_make_web_check_finds_nothing_to_mend_in_a_demo_that_runs(
    stack: Stack, capfd: pytest.CaptureFixture[str]
) -> None:
    status = web.main(["check"], stack.root)
    said = capfd.readouterr().out
    assert "✗" not in said
    assert "✓ broker" in said
    assert status == 0, said
