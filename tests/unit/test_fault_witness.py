"""What a fault is judged by: a page that stays open, a fresh load, and the site's own rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from infra.local.process import wait_until
from tests.faults import site_rows
from tests.faults.press import Click
from tests.faults.witness import Witness
from tests.faults.world import World
from tests.unit.fault_objects import NAME, shown


class Site:
    """Sockets of a site that says what the test puts in, and can lose them all."""

    def __init__(self) -> None:
        self.says: list[Any] = []
        self.asked: list[list[str]] = []
        self.opened = 0
        self._lost = False

    @contextmanager
    def socket(self) -> Iterator[Site]:
        self.opened += 1
        self._lost = False
        yield self

    def send(self, text: str) -> None:
        self.asked.append(json.loads(text)["request_ids"])

    def recv(self, timeout: float) -> str:
        if self._lost:
            raise ConnectionResetError
        if not self.says:
            time.sleep(0.001)
            raise TimeoutError
        return json.dumps(self.says.pop(0))

    def lose(self) -> None:
        self._lost = True


def _snapshot(**fields: Any) -> dict[str, Any]:
    return {"type": "snapshot", "requests": [shown(**fields)]}


def _event(**fields: Any) -> dict[str, Any]:
    return {"type": "event", "request": shown(**fields)}


def test_a_page_keeps_its_socket_until_that_is_lost_and_then_asks_anew() -> None:
    site = Site()
    page = Witness(site, NAME)
    try:
        site.says += [_snapshot(version=1), _event(version=2, state="accepted")]
        wait_until(lambda: (page.last or {}).get("version") == 2, "hear the event", 10)
        time.sleep(0.1)
        assert (site.opened, site.asked, page.sockets, page.drops) == (1, [[NAME]], 1, 0)
        site.lose()
        wait_until(lambda: site.opened == 2, "come back", 10)
        # An older version is not news, and a socket without a word is none that was dropped.
        site.says += [_snapshot(version=1), _event(version=3, state="completed")]
        wait_until(lambda: page.ends == ["completed"], "hear the outcome", 10)
        assert page.last["version"] == 3
        assert (site.asked, page.sockets, page.drops) == ([[NAME], [NAME]], 2, 1)
    finally:
        page.stop()


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (httpx.Response(200, json={"state": "queued"}), {"state": "queued"}),
        (httpx.Response(404, json={"error": {"code": "not_found"}}), {}),
        (httpx.Response(503, json={"state": "queued"}), {}),
        (httpx.Response(200, text="<html>"), {}),
    ],
)
def test_only_a_load_that_succeeds_shows_a_request(
    answer: httpx.Response, seen: dict[str, Any]
) -> None:
    links = dict.fromkeys(("site", "lab", "archive"))
    world = World(SimpleNamespace(rabbitmq=None), None, links, None)
    world._reader = SimpleNamespace(get=lambda _: answer)
    assert world.state(Click(NAME, None, None)) == seen


class Rows:
    """A world of which only the database, and a site that cancels, are there."""

    def __init__(self, *rows: tuple[Any, ...]) -> None:
        self.rows = list(rows)
        self.reader = SimpleNamespace(post=self._cancel)
        self.cancelled: list[str] = []

    def ask_database(self, *_: object) -> list[Any]:
        return self.rows

    def _cancel(self, path: str, _: object) -> None:
        self.cancelled.append(path)
        self.rows = [(key, "cancelled") for key, _ in self.rows]


def test_what_has_no_outcome_is_found_in_either_database_and_cancelled() -> None:
    world = Rows((UUID(NAME).hex, "inferring"), (UUID(NAME), "waiting"), (UUID(int=2), "failed"))
    assert site_rows.unfinished(world) == [NAME, NAME]
    site_rows.cancel_unfinished(world)
    assert world.cancelled == [f"/api/v1/requests/{NAME}/cancel"] * 2


def test_a_sweep_is_due_when_its_time_is_over_in_either_database() -> None:
    now = datetime.now(UTC)
    before, after = now - timedelta(seconds=5), now + timedelta(hours=1)
    text = [f"{moment:%Y-%m-%d %H:%M:%S.%f}" for moment in (before, after)]
    assert site_rows.sweeps_due(Rows((before,), (after,), *((one,) for one in text))) == 2
