"""A real browser, the site, and a real archive with one small study. No broker and no lab."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import highdicom as hd
import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from tests.browser.launch import ARGUMENTS, CHROMIUM
from tests.dicom_factory import Series, part10
from tests.site import reader_of, use_archive

#: Milliseconds that a page may take to show something, on a machine that is busy.
expect.set_options(timeout=20_000)

ROLES = ("pre", "post1", "post2", "last")
SLICES, ROWS, COLUMNS = 9, 32, 40


@dataclass(frozen=True)
class StoredStudy:
    """A study in the archive, with a segmentation of its first series."""

    study_id: str
    #: In role order.
    series_ids: tuple[str, ...]
    seg_instance_id: str
    #: (slices, rows, columns), in InstanceNumber order.
    mask: np.ndarray


@dataclass
class OpenPage:
    """A page of a logged-in reader; its socket leads here and not to the site."""

    page: Page
    address: str
    sockets: list[WebSocketRoute] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    #: A socket over which nothing is answered any more; the site answers what a page says.
    dead: WebSocketRoute | None = None

    def hear(self, socket: WebSocketRoute, text: str) -> None:
        """Take what the page says over a socket."""
        self.sent.append(json.loads(text))
        if socket is not self.dead:
            socket.send(json.dumps({"type": "snapshot", "requests": []}))

    def push(self, message: dict[str, Any]) -> None:
        """Tell the page something over its newest socket."""
        self.sockets[-1].send(json.dumps(message))

    def open(self, path: str) -> Page:
        """Go to a page of the site."""
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for one file of tests.

    Not for the session: Playwright keeps an event loop running in this thread as long as it is
    open, and no asyncio test of another file could run beside it.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Playwright's own event loop runs in this thread; the tests use the database beside it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
            yield browser
            browser.close()


@pytest.fixture(scope="session")
def study(orthanc: OrthancNode) -> StoredStudy:
    first = phase("090000", generate_uid(), generate_uid())
    phases = [first] + [
        phase(time, first.study_uid, first.frame_uid) for time in ("090130", "090300", "090600")
    ]
    mask = np.zeros((SLICES, ROWS, COLUMNS), dtype=bool)
    mask[5, 8:12, 10:16] = True
    mask[6, 7:13, 9:17] = True
    mask[6, 9, 12] = False
    with httpx.Client(
        base_url=orthanc.url, auth=(orthanc.user, orthanc.password), trust_env=False
    ) as client:

        def store(content: bytes) -> dict[str, str]:
            return client.post("/instances", content=content).raise_for_status().json()

        stored = [[store(content) for content in item.files()] for item in phases]
        result = store(part10(segmentation(first, mask)))
    return StoredStudy(
        study_id=result["ParentStudy"],
        series_ids=tuple(instances[0]["ParentSeries"] for instances in stored),
        seg_instance_id=result["ID"],
        mask=mask,
    )


@pytest.fixture
def open_page(
    chromium: Browser, live_server: Any, client: Any, settings: Any, orthanc: OrthancNode
) -> Iterator[Callable[..., OpenPage]]:
    """A function that makes pages: `open_page(locale="ko-KR")`, and what else a context takes."""
    use_archive(settings, orthanc)
    client.force_login(reader_of())
    session = client.cookies["sessionid"].value
    contexts = []

    def make(locale: str = "en-US", **context_options: Any) -> OpenPage:
        options = {"viewport": {"width": 1280, "height": 900}} | context_options
        context = chromium.new_context(locale=locale, **options)
        contexts.append(context)
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        made = OpenPage(context.new_page(), live_server.url)

        def connected(socket: WebSocketRoute) -> None:
            made.sockets.append(socket)
            socket.on_message(lambda text: made.hear(socket, str(text)))

        made.page.route_web_socket("**/ws/live/", connected)
        return made

    yield make
    for context in contexts:
        context.close()


def until(page: Page, true: Callable[[], object]) -> None:
    """Wait until something holds on this side, while the browser goes on."""
    limit = monotonic() + 20
    while not true():
        assert monotonic() < limit
        page.wait_for_timeout(50)


def phase(time: str, study_uid: str, frame_uid: str) -> Series:
    """One phase: noise around a grey that differs from slice to slice."""
    noise = np.random.default_rng(int(time)).integers(0, 50, (SLICES, ROWS, COLUMNS))
    pixels = (100 + 20 * np.arange(SLICES)[:, None, None] + noise).astype(np.uint16)
    return Series(
        slices=SLICES,
        rows=ROWS,
        columns=COLUMNS,
        study_uid=study_uid,
        frame_uid=frame_uid,
        time=time,
        pixels=pixels,
    )


def segmentation(series: Series, mask: np.ndarray) -> hd.seg.Segmentation:
    """The mask as a DICOM SEG that refers to the series, its frames in reverse order."""
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="tumour",
        segmented_property_category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        segmented_property_type=Code("108369006", "SCT", "Neoplasm"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    return hd.seg.Segmentation(
        source_images=series.datasets[::-1],
        pixel_array=mask[::-1].astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=generate_uid(),
        series_number=900,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Labrelay tests",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    )
