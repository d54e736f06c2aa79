"""The OHIF viewer in a real browser: from the page to the tumour, and nowhere else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, expect
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from infra.demo.reader import ended
from infra.demo.stack import PAGE_USER
from tests.browser.conftest import until
from tests.browser.ohif_study import MARKED, MIDDLE, SLICES, phases, store
from tests.integration.lab import StoredStudy
from tests.integration.system import System, click, running_system

#: Milliseconds until the viewer shows something, on a machine that is busy.
VIEWER_MS = 180_000

#: The displayed image's number and place: ``I:7 (6/12)``.
_PLACE = re.compile(r"I:(\d+) \((\d+)/(\d+)\)")


@dataclass
class Traffic:
    """What a browser asked for, and how it was answered."""

    origin: str
    elsewhere: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("console", lambda message: self._console(message.type, message.text))

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and f"{parts.scheme}://{parts.netloc}" not in {
            self.origin,
            self.origin.replace("http:", "ws:"),
        }:
            self.elsewhere.append(request.url)

    def _response(self, response: Response) -> None:
        path = urlsplit(response.url).path
        self.served.append(path)
        if response.status >= 400:
            self.refused.append(f"{response.status} {path}")

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.said.append(text)

    def assert_clean(self) -> None:
        assert not self.refused
        assert not self.elsewhere
        assert not self.said


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("ohif")) as system:
        yield system


@pytest.fixture(scope="module")
def analysed(system: System) -> StoredStudy:
    study = store(system.stack.orthanc, phases())
    with system.reader() as reader:
        reader.wait(click(reader, study), ended, 240)
    return study


@pytest.fixture
def browsing(chromium: Browser, system: System) -> Iterator[tuple[Page, Traffic]]:
    """A logged-in reader with the list of studies, and what their browser does from now on."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(system.stack.url)
    page.get_by_role("textbox").first.fill(PAGE_USER)
    page.locator("input[type=password]").fill(system.stack.page_password)
    page.locator("button[type=submit]").click()
    page.wait_for_url(f"{system.stack.url}/")
    traffic = Traffic(system.stack.url)
    traffic.watch(context)
    yield page, traffic
    context.close()


def test_a_click_on_the_page_shows_the_tumour_with_its_outline_in_the_viewer(
    browsing: tuple[Page, Traffic], system: System, analysed: StoredStudy
) -> None:
    page, traffic = browsing
    page.goto(f"{system.stack.url}/studies/{analysed.study_id}/")
    with page.context.expect_page() as opened:
        page.get_by_test_id("open-viewer").click()
    viewer = opened.value
    viewer.wait_for_url("**/ohif/viewer?StudyInstanceUIDs=*")
    until_shown(viewer)
    until_true(viewer, lambda: marked_pixels(viewer) > 200)
    assert slice_shown(viewer) == MIDDLE, "the viewer did not open in the middle of the tumour"
    post1 = next(item for item in analysed.inputs if item.role == "post1")
    assert f"/series/{post1.series_uid}/" in image_shown(viewer), "it is not the phase of contrast"

    viewer.keyboard.press("Home")
    until_true(viewer, lambda: place(viewer)[1] == 1)
    assert slice_shown(viewer) not in MARKED
    until_true(viewer, lambda: marked_pixels(viewer) == 0)

    traffic.assert_clean()
    assert any(path.startswith("/dicom-web/") and "/frames/" in path for path in traffic.served)
    assert not [path for path in traffic.served if "orthanc" in path.lower()]


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_a_study_without_a_result_is_shown_and_so_are_compressed_images(
    browsing: tuple[Page, Traffic], system: System, syntax: Any
) -> None:
    """Their decoder makes functions from text: its worker may, the page may not."""
    page, traffic = browsing
    study = store(
        system.stack.orthanc,
        phases()[:1],
        lambda dataset: dataset.compress(syntax, generate_instance_uid=False),
    )
    page.goto(f"{system.stack.url}/ohif/open/{study.study_id}/")
    until_shown(page)
    # The noise and the ramp of the images, and no single colour.
    until_true(page, lambda: picture(page).std() > 10)
    assert marked_pixels(page) == 0
    traffic.assert_clean()


def test_the_page_of_the_viewer_leads_to_the_log_in_and_its_files_need_none(
    chromium: Browser, system: System, analysed: StoredStudy
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{system.stack.url}/ohif/viewer?StudyInstanceUIDs={analysed.study_uid}")
    assert urlsplit(page.url).path == "/login/"
    answer = context.request.get(f"{system.stack.url}/ohif/app-config.js")
    assert answer.ok
    answer = context.request.get(f"{system.stack.url}/dicom-web/studies/{analysed.study_uid}")
    assert answer.status == 401
    context.close()


def until_shown(page: Page) -> None:
    """Wait until the viewer shows an image."""
    corner = page.locator("[data-cy=viewport-overlay-bottom-right]").first
    # Its first words may be of a stack without slices.
    whole = re.compile(rf"I:\d+ \(\d+/{SLICES}\)")
    expect(corner).to_have_text(whole, timeout=VIEWER_MS)


def until_true(page: Page, true: Any) -> None:
    """Longer than a page of ours takes: a viewer in software draws slowly."""
    for _ in range(8):
        try:
            return until(page, true)
        except AssertionError:
            continue
    raise AssertionError("the viewer never came to show that")


def place(page: Page) -> tuple[int, int, int]:
    """InstanceNumber, place in the viewer and number of slices."""
    text = page.locator("[data-cy=viewport-overlay-bottom-right]").first.inner_text()
    found = _PLACE.search(text)
    assert found is not None, text
    number, position, total = map(int, found.groups())
    return number, position, total


def slice_shown(page: Page) -> int:
    """The slice on the screen, counted from 0 as the study has them."""
    return place(page)[0] - 1


def image_shown(page: Page) -> str:
    """The address of the image on the screen, as the viewer's own engine has it."""
    return str(
        page.evaluate("cornerstone.getRenderingEngines()[0].getViewports()[0].getCurrentImageId()")
    )


def picture(page: Page) -> NDArray[np.uint8]:
    """The image as the browser paints it, with what is drawn over it."""
    shot = page.locator("canvas.cornerstone-canvas").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))


def marked_pixels(page: Page) -> int:
    """Pixels in the colour of the first segment: images are grey, the viewer's own texts blue."""
    red, _green, blue = picture(page).astype(int).transpose(2, 0, 1)
    return int((red - blue > 50).sum())
