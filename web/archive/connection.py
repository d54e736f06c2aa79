"""The connection to Orthanc: what every call has in common. Library errors end here."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from messages.envelope import ORTHANC_ID_PATTERN
from web.archive.errors import (
    ArchiveUnavailable,
    InstanceNotFound,
    NotAnOrthancId,
    NotInArchive,
    SeriesNotFound,
    StudyNotFound,
    TooLongAnswer,
    UnusableAnswer,
)
from web.archive.patience import seconds_left

#: Seconds to connect; Orthanc is one hop away, so a slow connect means that it is not there.
CONNECT_SECONDS = 2.0

#: Seconds between two bytes of an answer. A reader waits for this, so it is short.
READ_SECONDS = 15.0

#: Connections of one web process. Orthanc's own default is 50 threads for everybody.
MAX_CONNECTIONS = 16

#: Bytes of the tags of one object. Those of 600 frames are 6 MB; an object that says more is not
#: waited for.
MAX_TAGS_BYTES = 48 * 1024 * 1024

#: What Orthanc files, as its addresses call it.
Level = Literal["studies", "series", "instances"]

#: What is raised where one of them is not there.
ABSENT: dict[Level, type[NotInArchive]] = {
    "studies": StudyNotFound,
    "series": SeriesNotFound,
    "instances": InstanceNotFound,
}

_ID = re.compile(ORTHANC_ID_PATTERN)


@dataclass
class Budget:
    """Bytes of what is in an object that may still be read."""

    left: int
    #: Bytes of one answer, at most.
    most: int = MAX_TAGS_BYTES

    def take(self, count: int, *, so_far: int) -> None:
        """Raise `TooLongAnswer` where one answer, or all of them, are longer than they may be."""
        self.left -= count
        if self.left < 0 or so_far > self.most:
            raise TooLongAnswer("Orthanc answers with more bytes than a page can use")


def checked_id(text: str) -> str:
    """Return `text` if it is an Orthanc identifier; raises `NotAnOrthancId` otherwise."""
    if _ID.fullmatch(text) is None:
        raise NotAnOrthancId("not an Orthanc identifier")
    return text


class Connection:
    """The connections to one Orthanc; what is asked is in `web.archive.orthanc`."""

    def __init__(
        self, url: str, user: str, password: str, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._client = httpx.Client(
            base_url=url,
            auth=(user, password),
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            follow_redirects=False,
            transport=transport,
            # No proxy and no .netrc: patient data goes to the archive that the settings name.
            trust_env=False,
            # Orthanc would compress every answer, which is slower than the loopback is.
            headers={"Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(
        self, level: Level, orthanc_id: str, tail: str, params: dict[str, str], accept: str
    ) -> httpx.Response:
        request = self._client.build_request(
            "GET",
            f"/{level}/{checked_id(orthanc_id)}{tail}",
            params=params,
            headers={"Accept": accept},
        )
        return self._send(request, absent=ABSENT[level])

    def _send(
        self,
        request: httpx.Request,
        absent: type[NotInArchive] = NotInArchive,
        budget: Budget | None = None,
    ) -> httpx.Response:
        """The whole answer; with a `budget` that of an object's own file, which may be broken.

        Raises `ArchiveUnavailable` also when the time of the page is over.
        """
        left = seconds_left()
        if left is not None:
            patience = httpx.Timeout(min(READ_SECONDS, left), connect=min(CONNECT_SECONDS, left))
            request.extensions["timeout"] = patience.as_dict()
        try:
            answer = self._begun(request, budget)
        except httpx.HTTPError as exc:
            raise ArchiveUnavailable(f"Orthanc does not answer: {type(exc).__name__}") from exc
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise absent("Orthanc answered 404")
        if budget is not None and answer.status_code == httpx.codes.BAD_REQUEST:
            raise UnusableAnswer("Orthanc cannot read the object")
        if not answer.is_success:
            raise ArchiveUnavailable(f"Orthanc answered {answer.status_code}")
        return answer

    def _begun(self, request: httpx.Request, budget: Budget | None) -> httpx.Response:
        """The answer, read while there is something left of the budget and of the time."""
        answer = self._client.send(request, stream=True)
        with closing(answer):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if budget is not None:
                    budget.take(len(part), so_far=len(body))
                # Each part may come in time, and there be very many.
                seconds_left()
        kept = {"Content-Type": answer.headers.get("Content-Type", "")}
        return httpx.Response(
            answer.status_code, headers=kept, content=bytes(body), request=request
        )


def decoded(answer: httpx.Response) -> Any:
    """The JSON of an answer; raises `ArchiveUnavailable` where it is none."""
    try:
        return answer.json()
    except ValueError as exc:
        raise ArchiveUnavailable("Orthanc answered with something other than JSON") from exc
