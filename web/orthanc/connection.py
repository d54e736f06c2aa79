"""The connection to Orthanc: what every call has in common. Library errors end here."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import httpx

from messages.envelope import ORTHANC_ID_PATTERN
from web.orthanc.errors import (
    ArchiveUnavailable,
    InstanceNotFound,
    NotAnOrthancId,
    NotInArchive,
    SeriesNotFound,
    StudyNotFound,
    TooLongAnswer,
    UnusableAnswer,
)
from web.orthanc.heavy import Leave, on_demand
from web.orthanc.time_budget import seconds_left
from web.orthanc.transport import Transport, until

#: Seconds to connect; Orthanc is one hop away, so a slow connect means that it is not there.
CONNECT_SECONDS = 2.0

#: Seconds between two bytes of an answer. A reader waits for this, so it is short.
READ_SECONDS = 15.0

#: Seconds for a whole answer where no page sets a limit: an archive, or a proxy before it, that
#: sends a byte now and then would otherwise hold a thread for ever.
ANSWER_SECONDS = 60.0

#: Connections of one web process. Orthanc's own default is 50 threads for everybody.
MAX_CONNECTIONS = 16

#: Bytes of the tags of one object. Those of 600 frames are 6 MB; an object that says more is not
#: waited for.
MAX_TAGS_BYTES = 48 * 1024 * 1024

#: Objects, lists and members in JSON: each is some hundred bytes of a process at most. The tags of
#: 4000 instances have 800 000.
MAX_JSON_NODES = 1_500_000

#: What of a JSON text makes an object of its own once it is parsed; one in a text counts, too.
_NODES = (b"{", b"[", b",")

#: What Orthanc files, as its addresses call it.
Level = Literal["studies", "series", "instances"]

#: What is raised where one of them is not there.
ABSENT: dict[Level, type[NotInArchive]] = {
    "studies": StudyNotFound,
    "series": SeriesNotFound,
    "instances": InstanceNotFound,
}

_ID = re.compile(ORTHANC_ID_PATTERN)

_MIB = 1024 * 1024


class Bounds(NamedTuple):
    """How long an answer may be."""

    #: Bytes, at most.
    most: int
    #: Bytes up to which it needs no leave of the process (`web.orthanc.heavy`).
    light: int


#: What Orthanc's index says. A series of 10 000 instances takes 12 MB.
INDEX = Bounds(MAX_TAGS_BYTES, _MIB)

#: A slice as a PNG of 8 bits: one of 4096 x 4096 without any two like pixels takes 17 MB.
PICTURE = Bounds(32 * _MIB, 4 * _MIB)

#: A slice as an array of four bytes a pixel: one of 4096 x 4096. MR has 1024 x 1024 at most.
ARRAY = Bounds(64 * _MIB + 4096, 4 * _MIB)


@dataclass
class Budget:
    """Bytes of what is in an object that may still be read."""

    left: int
    #: Bytes of one answer, at most.
    most: int = MAX_TAGS_BYTES
    #: Bytes up to which it needs no leave of the process.
    light: int = _MIB

    def take(self, count: int, *, so_far: int) -> None:
        """Raise `TooLongAnswer` where one answer, or all of them, are longer than they may be."""
        self.left -= count
        if self.left < 0 or so_far > self.most:
            raise TooLongAnswer("Orthanc answers with more bytes than a page can use")

    def refuse(self, stated: int) -> None:
        """Raise `TooLongAnswer` for an answer of so many bytes, of which none is read yet."""
        if stated > min(self.left, self.most):
            # As if it had been read until then: whoever asks again does not get further either.
            self.left -= min(stated, self.most)
            raise TooLongAnswer("Orthanc answers with more bytes than a page can use")


def checked_id(text: str) -> str:
    """Return `text` if it is an Orthanc identifier; raises `NotAnOrthancId` otherwise."""
    if _ID.fullmatch(text) is None:
        raise NotAnOrthancId("not an Orthanc identifier")
    return text


class Connection:
    """The connections to one Orthanc; what is asked is in `web.orthanc.archive`."""

    def __init__(
        self, url: str, user: str, password: str, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._client = httpx.Client(
            base_url=url,
            auth=(user, password),
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            transport=transport or Transport(httpx.Limits(max_connections=MAX_CONNECTIONS)),
            # No proxy and no .netrc: patient data goes to the archive that the settings name.
            trust_env=False,
            # Orthanc would compress every answer, which is slower than the loopback is.
            headers={"Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _json(self, request: httpx.Request, absent: type[NotInArchive] = NotInArchive) -> Any:
        """The JSON of an answer about what Orthanc's index holds.

        Raises `TooLongAnswer`, and `ArchiveUnavailable` where it is no JSON.
        """
        with on_demand() as leave:
            return decoded(self._send(request, absent, leave=leave))

    def _json_of_object(
        self, request: httpx.Request, absent: type[NotInArchive], budget: Budget
    ) -> Any:
        """The JSON of an object's own file, which may be broken; raises `UnusableAnswer` then."""
        with on_demand() as leave:
            answer = self._send(request, absent, budget, leave=leave)
            try:
                return parsed(answer.content)
            except (ValueError, RecursionError):
                # Its own text may quote what it read.
                raise UnusableAnswer("the tags of an object are no readable JSON") from None

    def _send(
        self,
        request: httpx.Request,
        absent: type[NotInArchive] = NotInArchive,
        budget: Budget | None = None,
        *,
        bounds: Bounds = INDEX,
        leave: Leave | None = None,
    ) -> httpx.Response:
        """The whole answer; with a `budget` that of an object's own file, which may be broken.

        What is long waits for the `leave`, or one of its own. Raises `TooLongAnswer` for what is
        longer than its `bounds`, and `ArchiveUnavailable` also when the time of the page is over.
        """
        allowed = Budget(bounds.most, bounds.most, bounds.light) if budget is None else budget
        try:
            with on_demand() as own:
                answer = self._begun(request, allowed, leave or own)
        except httpx.HTTPError as exc:
            raise ArchiveUnavailable(f"Orthanc does not answer: {type(exc).__name__}") from exc
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise absent("Orthanc answered 404")
        if budget is not None and answer.status_code == httpx.codes.BAD_REQUEST:
            raise UnusableAnswer("Orthanc cannot read the object")
        if not answer.is_success:
            raise ArchiveUnavailable(f"Orthanc answered {answer.status_code}")
        return answer

    def _begun(self, request: httpx.Request, budget: Budget, leave: Leave) -> httpx.Response:
        """The answer, read while there is something left of the budget and of the time."""
        left = _left(time.monotonic() + ANSWER_SECONDS)
        end = time.monotonic() + left
        time_budget = httpx.Timeout(min(READ_SECONDS, left), connect=min(CONNECT_SECONDS, left))
        request.extensions["timeout"] = time_budget.as_dict()
        with until(end), closing(self._client.send(request, stream=True)) as answer:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                # A kilobyte of it may be a megabyte, before anybody can count.
                raise ArchiveUnavailable("Orthanc, or a proxy before it, compresses its answers")
            stated = answer.headers.get("Content-Length", "")
            if stated.isdecimal() and answer.is_success:
                # Said before it is read; what is then read is counted all the same.
                budget.refuse(int(stated))
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                budget.take(len(part), so_far=len(body))
                if len(body) > budget.light:
                    leave.take()
                # Each part may come in time, and there be very many.
                _left(end)
        kept = {"Content-Type": answer.headers.get("Content-Type", "")}
        return httpx.Response(
            answer.status_code, headers=kept, content=bytes(body), request=request
        )


def _left(end: float) -> float:
    """Seconds until then (monotonic), or until the time of the page is over if that is sooner.

    Raises `ArchiveUnavailable`.
    """
    left, of_page = end - time.monotonic(), seconds_left()
    if left <= 0:
        raise ArchiveUnavailable("Orthanc took too long for one answer")
    return left if of_page is None else min(left, of_page)


def parsed(body: bytes) -> Any:
    """The values of a JSON text.

    Raises ValueError or RecursionError, and `TooLongAnswer` where they would take much memory.
    """
    if sum(body.count(one) for one in _NODES) > MAX_JSON_NODES:
        raise TooLongAnswer("Orthanc answers with more values than a page can use")
    return json.loads(body)


def decoded(answer: httpx.Response) -> Any:
    """The JSON of an answer; raises `ArchiveUnavailable` where it is none."""
    try:
        return parsed(answer.content)
    except (ValueError, RecursionError):
        # Its own text may quote what it read.
        raise ArchiveUnavailable("Orthanc answered with something other than JSON") from None
