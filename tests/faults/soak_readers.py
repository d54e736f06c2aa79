"""Readers of a soak: they ask, repeat what got no answer, and now and then change their mind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httpx

from infra.demo.reader import Reader
from tests.faults.audience import Audience
from tests.integration.lab import StoredStudy

#: Of all requests, how many are cancelled by their reader: a share.
CANCELLED = 0.06

#: Seconds between the answer to a click and its cancel: from the queue to after the result.
CANCEL_AFTER = 15.0

#: Seconds before a click without an answer is repeated.
_PAUSE = 0.5

#: Readers at once. Each waits for an answer before it asks for the next.
HANDS = 4

#: Answers that say "not now": too many calls, or something behind the site is away.
_NOT_NOW = frozenset({429, 500, 502, 503, 504})


@dataclass
class Wish:
    """One click of a soak and what was answered."""

    number: int
    study: StoredStudy
    #: Its own, so that no wish is another one's.
    threshold: float
    #: Seconds after the beginning.
    due: float
    #: Seconds from the answer to the reader's cancel, if they cancel.
    cancel_after: float | None
    #: Empty until the site has answered.
    request_id: str = ""
    #: Whether the cancel was answered with 202.
    cancel_taken: bool = False
    #: An answer that no click here should get; empty if there was none.
    refused: str = ""


def wishes(
    studies: list[StoredStudy], count: int, seconds: float, dice: random.Random
) -> list[Wish]:
    """So many clicks over so many seconds."""
    return [
        Wish(
            number=number,
            study=studies[number * len(studies) // count],
            threshold=round((number + 1) / (count + 1), 9),
            due=number * seconds / count,
            cancel_after=dice.uniform(0, CANCEL_AFTER) if dice.random() < CANCELLED else None,
        )
        for number in range(count)
    ]


class SoakReaders:
    """Carry wishes to the site, whatever state that is in."""

    def __init__(self, reader: Reader, wanted: list[Wish], *, key: str) -> None:
        """`key` begins each click's Idempotency-Key."""
        self._reader = reader
        self._wanted = wanted
        self._key = key
        self._open = list(reversed(wanted))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = 0.0
        #: Pages that stay open, each with some of the requests.
        self._audiences: list[Audience] = []
        self._audience_of: dict[int, Audience] = {}
        #: When to cancel what.
        self._impatient: list[tuple[float, Wish]] = []
        work = [self._click] * HANDS + [self._cancel]
        self._threads = [threading.Thread(target=one, name="reader", daemon=True) for one in work]

    def start(self) -> None:
        """Begin to click."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Click no more and close the pages."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=60.0)
        for audience in self._audiences:
            audience.stop()

    @property
    def answered(self) -> int:
        """Clicks that the site has taken, or refused."""
        return sum(bool(w.request_id or w.refused) for w in self._wanted)

    @property
    def over(self) -> bool:
        """Whether every click and every cancel was answered."""
        with self._lock:
            return self.answered == len(self._wanted) and not self._impatient

    def audience_of(self, wish: Wish) -> Audience:
        """The page that follows the request of the wish."""
        return self._audience_of[wish.number]

    def _click(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                if not self._open:
                    return
                wish = self._open.pop()
            self._stop.wait(max(0.0, self._began + wish.due - time.monotonic()))
            self._ask(wish)

    def _ask(self, wish: Wish) -> None:
        series = [{"role": i.role, "series_id": i.series_id} for i in wish.study.inputs]
        body = {"study_id": wish.study.study_id, "inputs": series, "threshold": wish.threshold}
        key = {"Idempotency-Key": f"{self._key}-{wish.number}"}
        answer = self._until_answered(partial(self._reader.post, "/api/v1/requests", body, key))
        if answer is None:
            return
        if answer.status_code != 202:
            wish.refused = f"{answer.status_code} {answer.text[:200]}"
            return
        request_id: str = answer.json()["request_id"]
        with self._lock:
            if not self._audiences or self._audiences[-1].full:
                self._audiences.append(Audience(self._reader))
            self._audiences[-1].follow(request_id)
            self._audience_of[wish.number] = self._audiences[-1]
            if wish.cancel_after is not None:
                self._impatient.append((time.monotonic() + wish.cancel_after, wish))
            wish.request_id = request_id

    def _cancel(self) -> None:
        while not self._stop.wait(0.1):
            with self._lock:
                due = [pair for pair in self._impatient if pair[0] <= time.monotonic()]
            for pair in due:
                self._cancel_one(pair[1])
                with self._lock:
                    self._impatient.remove(pair)

    def _cancel_one(self, wish: Wish) -> None:
        path = f"/api/v1/requests/{wish.request_id}/cancel"
        answer = self._until_answered(partial(self._reader.post, path, {}))
        if answer is None:
            return
        wish.cancel_taken = answer.status_code == 202
        # 409: it has ended, which a reader is told and understands.
        if answer.status_code not in {202, 409}:
            wish.refused = f"cancel: {answer.status_code} {answer.text[:200]}"

    def _until_answered(self, call: Callable[[], httpx.Response]) -> httpx.Response | None:
        while not self._stop.is_set():
            try:
                answer = call()
            except httpx.HTTPError:
                self._stop.wait(_PAUSE)
                continue
            if answer.status_code not in _NOT_NOW:
                return answer
            self._stop.wait(_PAUSE)
        return None
