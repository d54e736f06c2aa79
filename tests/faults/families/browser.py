"""Faults of a page's connection: lost a hundred times, and a thousand times."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from infra.local.process import wait_until
from tests.faults.chromium import chromium_page
from tests.faults.clicks import computing
from tests.faults.link import Link
from tests.faults.readers import readers
from tests.faults.rows import row
from tests.faults.witness import Witness
from tests.faults.world import PATIENCE, World

#: How often sockets are dropped: in all, and of one page in a real browser.
DROPS, CHROMIUM_DROPS = 1000, 100


@row(
    "browser",
    "the sockets of open pages are dropped 1 000 times",
    injected="ten readers follow one request over a link that resets all their connections as "
    "soon as each has been told again, 100 times and more; the outcome comes in the middle. Not "
    "one reader: the site lets each open 120 sockets a minute",
    measures="last drop to all ten told the outcome",
)
def dropped_a_thousand_times(world: World) -> float:
    click = computing(world)
    with Link(world.stack.ports.web) as link:
        with ExitStack() as open_:
            pages = []
            for one in readers(world, link.port):
                pages.append(Witness(one, click.request_id))
                open_.callback(pages[-1].stop)
            files = _open_files(world)
            while (dropped := sum(page.drops for page in pages)) < DROPS:
                if dropped > DROPS / 2:
                    world.bundle.release()
                _drop_all(link, pages)
            last = time.monotonic()
            world.wait_state(click, "completed")
            version = world.state(click)["version"]
            wait_until(
                lambda: all((page.last or {}).get("version") == version for page in pages),
                "tell all of them",
                PATIENCE,
            )
            assert all(page.ends == ["completed"] for page in pages)
            told = time.monotonic()
        # Ten sockets and what they read with may come and go; a thousand would stay.
        wait_until(lambda: _open_files(world) < files + 30, "close what was dropped", PATIENCE)
    return told - last


def _drop_all(link: Link, pages: list[Witness]) -> None:
    """Reset every connection once, and wait until each page has been told again."""
    before = [page.sockets for page in pages]
    link.cut()
    link.mend()
    wait_until(
        lambda: all(page.sockets > had for page, had in zip(pages, before, strict=True)),
        "be told again",
        PATIENCE,
    )


def _open_files(world: World) -> int:
    return len(list(Path(f"/proc/{world.stack.web.pid}/fd").iterdir()))


@row(
    "browser",
    "the socket of a page in Chromium is dropped 100 times",
    injected="a link that resets the page's connections each time that it has its snapshot; the "
    "outcome comes in the middle",
    measures="last drop to the result shown, without a reload",
)
def chromium_dropped(world: World) -> float:
    (reader, *_) = readers(world, world.stack.ports.web)
    with chromium_page(world, reader) as page:
        world.bundle.hold()
        click = page.press()
        for turn in range(CHROMIUM_DROPS):
            if turn == CHROMIUM_DROPS // 2:
                world.bundle.release()
            page.wait(lambda turn=turn: page.told > turn, "be told again")  # type: ignore[misc]
            page.link.cut()
            page.link.mend()
        last = time.monotonic()
        return page.wait_result(click) - last
