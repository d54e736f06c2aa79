"""A reader in a real Chromium, whose every byte goes over a link and whose machine can sleep."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, WebSocket, sync_playwright

from infra.demo.reader import Reader
from infra.local.process import ServiceFailed
from tests.browser.launch import ARGUMENTS, CHROMIUM
from tests.faults.link import Link
from tests.faults.press import Click
from tests.faults.witness import Witness
from tests.faults.world import PATIENCE, World
from tests.integration.lab import store_small_study


class ChromiumPage:
    """The page of one study, which is opened once and never loaded again."""

    def __init__(self, page: Page, world: World, link: Link) -> None:
        self._page = page
        self._world = world
        self.link = link
        #: Sockets over which the page was told its request.
        self.told = 0
        #: Sockets that it has opened.
        self.sockets = 0
        page.on("websocket", self._opened)

    def press(self) -> Click:
        """Open the page of a new study and press its button."""
        study = store_small_study(self._world.stack.orthanc)
        page = self._page
        page.goto(f"http://127.0.0.1:{self.link.port}/studies/{study.study_id}/")
        page.evaluate("window.loadedOnce = true")
        with page.expect_response(_is_click) as answer:
            page.locator("#analyse").click()
        request_id = answer.value.json()["request_id"]
        click = Click(request_id, study, Witness(self._world.reader, request_id))
        self._world.clicks.append(click)
        return click

    def wait(self, true: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
        """Wait on this side while the browser goes on."""
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline:
                raise ServiceFailed(f"the page in Chromium did not {what}: {self._status()}")
            self._page.wait_for_timeout(50)

    def wait_result(self, click: Click) -> float:
        """Wait until the page shows the figure that a fresh load shows; returns the time."""
        self._world.wait_state(click, "completed")
        figure = self._world.state(click)["result"]["volume_ml"]
        shown = self._page.locator("#volume-ml")
        self.wait(
            lambda: shown.is_visible() and float(shown.inner_text()) == round(figure, 2),
            f"show {figure:.2f} ml",
        )
        assert self._page.evaluate("window.loadedOnce"), "the page was loaded again"
        return time.monotonic()

    def look_away(self, seconds: float) -> None:
        """Let the browser work for so long."""
        self._page.wait_for_timeout(1000 * seconds)

    def freeze(self, *, frozen: bool) -> None:
        """Freeze the page as a browser does with a tab that nobody looks at."""
        devtools = self._page.context.new_cdp_session(self._page)
        state = "frozen" if frozen else "active"
        devtools.send("Page.setWebLifecycleState", {"state": state})
        devtools.detach()

    def _status(self) -> str:
        return " ".join(self._page.locator("#status").inner_text().split())

    def _opened(self, socket: WebSocket) -> None:
        self.sockets += 1
        heard = False

        def received(text: str | bytes) -> None:
            nonlocal heard
            message = json.loads(text)
            if not heard and message["type"] == "snapshot" and message["requests"]:
                heard = True
                self.told += 1

        socket.on("framereceived", received)


@contextmanager
def chromium_page(world: World, reader: Reader) -> Iterator[ChromiumPage]:
    """A browser in which `reader` is logged in; everything of it ends with the block."""
    with Link(world.stack.ports.web) as link, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            context = browser.new_context(locale="en-US")
            context.add_cookies(_cookies(reader))
            yield ChromiumPage(context.new_page(), world, link)
        finally:
            wake()
            browser.close()


def sleep() -> None:
    """SIGSTOP every process of the browser, as a laptop that is closed stops it."""
    for pid in _browsers():
        os.kill(pid, signal.SIGSTOP)


def wake() -> None:
    """SIGCONT the same."""
    for pid in _browsers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _cookies(reader: Reader) -> list[Any]:
    # A cookie knows no port: those of the site count on the link as well.
    jar = reader.cookies
    return [{"name": k, "value": v, "domain": "127.0.0.1", "path": "/"} for k, v in jar.items()]


def _is_click(response: Any) -> bool:
    asked = response.request
    return bool(asked.method == "POST" and asked.url.endswith("/api/v1/requests"))


def _browsers() -> list[int]:
    """The processes of Chromium among those that we have started."""
    parents: dict[int, int] = {}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            # proc(5): after the name in parentheses come state and parent.
            name, _, rest = (entry / "stat").read_text().rpartition(")")
            parents[int(entry.name)] = int(rest.split()[1])
            if "chrom" in name:
                found.append(int(entry.name))
    return [pid for pid in found if _is_ours(pid, parents)]


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        pid = parents.get(pid, 0)
        if pid == os.getpid():
            return True
    return False
