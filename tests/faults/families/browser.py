"""Faults of a page's connection: lost a thousand times, asleep, or with a site that is deaf."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.demo.reader import Reader, ended
from infra.local.process import wait_until
from tests.faults.chromium import chromium_page, sleep, wake
from tests.faults.link import Link
from tests.faults.other_site import served_otherwise
from tests.faults.readers import readers
from tests.faults.rows import row
from tests.faults.witness import Witness
from tests.faults.world import PATIENCE, Click, World

#: How often sockets are dropped: in all, and of one page in a real browser.
DROPS, CHROMIUM_DROPS = 1000, 100

#: Seconds that a laptop sleeps, and that a browser freezes a page.
ASLEEP, FROZEN = 600.0, 60.0

#: Seconds within which a page that lost every hint must be told all the same: some looks of
#: `web.live.watch`, on a busy machine.
HEALED = 30.0

#: Clicks that pages join, and pages that join each of them.
CLICKS, JOINS = 8, 10


@row(
    "browser",
    "the sockets of open pages are dropped 1 000 times",
    injected="ten readers follow one request over a link that resets all their connections as "
    "soon as each has been told again, 100 times and more; the outcome comes in the middle. Not "
    "one reader: the site lets each open 120 sockets a minute",
    measures="last drop to all ten told the outcome",
)
def dropped_a_thousand_times(world: World) -> float:
    world.bundle.hold()
    click = world.click()
    world.wait_inferring()
    with Link(world.stack.ports.web) as link:
        pages = [Witness(one, click.request_id) for one in readers(world, link.port)]
        files = _open_files(world)
        try:
            while (dropped := sum(page.drops for page in pages)) < DROPS:
                if dropped > DROPS / 2:
                    world.bundle.release()
                before = [page.sockets for page in pages]
                link.cut()
                link.mend()
                wait_until(
                    lambda before=before: all(  # type: ignore[misc]
                        page.sockets > count for page, count in zip(pages, before, strict=True)
                    ),
                    "be told again",
                    PATIENCE,
                )
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
        finally:
            for page in pages:
                page.stop()
        # Ten sockets and what they read with may come and go; a thousand would stay.
        wait_until(lambda: _open_files(world) < files + 30, "close what was dropped", PATIENCE)
    return told - last


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


@row(
    "browser",
    "a request changes between a page's joining and its snapshot",
    injected=f"{CLICKS * JOINS} sockets that begin to follow {CLICKS} requests at random moments "
    "of their running, each kept open until it has told an outcome",
)
def changes_while_joining(world: World) -> None:
    who = readers(world, world.stack.ports.web)
    seeds = random.Random(5)
    with ThreadPoolExecutor(CLICKS * JOINS) as joining:
        told = []
        for _ in range(CLICKS):
            click = world.click()
            # Over the time that all of them take together: the lab does one after the other.
            told += [
                (click, joining.submit(_follow, one, click, seeds.uniform(0.0, 8.0)))
                for one in who[:JOINS]
            ]
        first = set()
        for click, versions in told:
            seen = versions.result(PATIENCE)
            assert seen == sorted(set(seen)), f"{click.request_id}: told in the order {seen}"
            assert seen[-1] == world.state(click)["version"], f"{click.request_id}: told {seen}"
            first.add(seen[0])
    assert len(first) > 2, f"all joined at the same point: {first}"


def _follow(reader: Reader, click: Click, wait: float) -> list[int]:
    """Every version that one socket tells, as it tells them, up to the outcome."""
    time.sleep(wait)
    versions: list[int] = []
    deadline = time.monotonic() + PATIENCE
    with reader.socket() as socket:
        socket.send(json.dumps({"type": "follow", "request_ids": [click.request_id]}))
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                message = json.loads(socket.recv(timeout=1.0))
                for request in filter(None, message.get("requests") or [message.get("request")]):
                    versions.append(request["version"])
                    if ended(request):
                        return versions
    raise TimeoutError(f"a socket told only {versions}")


@row(
    "browser",
    "the channel layer loses everything",
    injected="a site whose channel layer drops every message and every group; one socket open "
    "from the click on, and a call of the old front end that waits",
    measures="outcome written to told over the socket",
    in_suite=True,
)
def deaf_channel_layer(world: World) -> float:
    settings = {"DJANGO_SETTINGS_MODULE": "tests.faults.deaf_site", "DEFAULT_MODEL": "held"}
    with served_otherwise(world, settings):
        world.bundle.hold()
        click = world.click()
        world.wait_inferring()
        told: list[list[int]] = []
        socket = threading.Thread(
            target=lambda: told.append(_follow(world.reader, click, 0.0)), name="one socket"
        )
        answers: list[Any] = []
        series = [item.series_id for item in click.study.inputs]
        # The same images and model: it waits for the same request.
        path = f"/api/mri/segmentation/series/{series[0]}/segment/"
        waiting = threading.Thread(
            target=lambda: answers.append(world.reader.post(path, {"sequence_series_ids": series})),
            name="one call",
        )
        socket.start()
        waiting.start()
        time.sleep(2.0)
        world.bundle.release()
        written = world.wait_state(click, "completed")
        socket.join(timeout=HEALED)
        assert told, "the socket was not told"
        recovery = time.monotonic() - written
        waiting.join(timeout=HEALED)
        assert answers, "the call that waits was not answered"
        assert answers[0].status_code == 200, answers[0].text
        return recovery


@row(
    "browser",
    "a laptop sleeps while the outcome comes, and its connections were ended meanwhile",
    injected=f"SIGSTOP to every process of Chromium and no byte passed on for {ASLEEP:.0f} s; "
    "then connections reset, SIGCONT",
    measures="woken to the result shown, without a reload",
)
def asleep(world: World) -> float:
    return _through_sleep(world, forgotten=False)


@row(
    "browser",
    "a laptop sleeps while the outcome comes, and nobody tells it that its connections are gone",
    injected=f"SIGSTOP to every process of Chromium and no byte passed on for {ASLEEP:.0f} s; "
    "then SIGCONT, and what was open stays silent for good",
    measures="woken to the result shown, without a reload",
)
def asleep_half_open(world: World) -> float:
    return _through_sleep(world, forgotten=True)


def _through_sleep(world: World, *, forgotten: bool) -> float:
    (reader, *_) = readers(world, world.stack.ports.web)
    with chromium_page(world, reader) as page:
        world.bundle.hold()
        click = page.press()
        world.wait_inferring()
        page.wait(lambda: page.told > 0, "follow its request")
        page.link.freeze()
        sleep()
        slept = time.monotonic()
        world.bundle.release()
        world.wait_state(click, "completed")
        time.sleep(max(0.0, slept + ASLEEP - time.monotonic()))
        if forgotten:
            page.link.strand()
        else:
            page.link.mend()
        wake()
        woken = time.monotonic()
        return page.wait_result(click) - woken


@row(
    "browser",
    "the browser freezes the page while the outcome comes",
    injected=f"Page.setWebLifecycleState frozen for {FROZEN:.0f} s, the connection left as it is",
    measures="active again to the result shown, without a reload",
)
def frozen_tab(world: World) -> float:
    (reader, *_) = readers(world, world.stack.ports.web)
    with chromium_page(world, reader) as page:
        world.bundle.hold()
        click = page.press()
        world.wait_inferring()
        page.wait(lambda: page.told > 0, "follow its request")
        page.freeze(frozen=True)
        frozen = time.monotonic()
        world.bundle.release()
        world.wait_state(click, "completed")
        page.look_away(max(0.0, frozen + FROZEN - time.monotonic()))
        page.freeze(frozen=False)
        active = time.monotonic()
        return page.wait_result(click) - active
