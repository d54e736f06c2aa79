"""The only HTTP to Orthanc on the web side. Library errors end here."""

from __future__ import annotations

import atexit
import re
from collections.abc import Collection
from functools import cache
from typing import Any, Literal

import httpx
from django.conf import settings

from messages.envelope import ORTHANC_ID_PATTERN
from web.archive.errors import (
    ArchiveUnavailable,
    InstanceNotFound,
    NotAnOrthancId,
    NotInArchive,
    SeriesNotFound,
    StudyNotFound,
)

#: Seconds to connect; Orthanc is one hop away, so a slow connect means that it is not there.
CONNECT_SECONDS = 2.0

#: Seconds between two bytes of an answer. A reader waits for this, so it is short.
READ_SECONDS = 15.0

#: Connections of one web process. Orthanc's own default is 50 threads for everybody.
MAX_CONNECTIONS = 16

Level = Literal["studies", "series", "instances"]

_ABSENT: dict[Level, type[NotInArchive]] = {
    "studies": StudyNotFound,
    "series": SeriesNotFound,
    "instances": InstanceNotFound,
}

_ID = re.compile(ORTHANC_ID_PATTERN)


def checked_id(text: str) -> str:
    """Return `text` if it is an Orthanc identifier; raises `NotAnOrthancId` otherwise."""
    if _ID.fullmatch(text) is None:
        raise NotAnOrthancId("not an Orthanc identifier")
    return text


class Orthanc:
    """One Orthanc. Safe to share between threads."""

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

    def json(self, level: Level, orthanc_id: str, tail: str = "") -> Any:
        """The JSON of ``/<level>/<id><tail>``; raises the `NotInArchive` of that level."""
        return _decoded(self._get(level, orthanc_id, tail, {}, "application/json"))

    def content(
        self,
        level: Level,
        orthanc_id: str,
        tail: str,
        *,
        params: dict[str, str] | None = None,
        accept: str = "*/*",
    ) -> bytes:
        """The bytes of ``/<level>/<id><tail>``: a file, a rendered image, an array."""
        return self._get(level, orthanc_id, tail, params or {}, accept).content

    def find(self, query: dict[str, Any]) -> Any:
        """What ``/tools/find`` answers to `query`."""
        return _decoded(self._send(self._client.build_request("POST", "/tools/find", json=query)))

    def bulk(self, level: str, orthanc_ids: Collection[str]) -> Any:
        """What Orthanc knows of these resources, without those that it does not hold."""
        # The level would otherwise be guessed from the ids, and a series answered as a study.
        query = {"Level": level, "Resources": [checked_id(one) for one in orthanc_ids]}
        if not query["Resources"]:
            return []
        return _decoded(
            self._send(self._client.build_request("POST", "/tools/bulk-content", json=query))
        )

    def instances_with(self, sop_instance_uid: str) -> list[str]:
        """Orthanc's ids of every stored object with this UID: a copied one has it too."""
        asked = self._client.build_request("POST", "/tools/lookup", content=sop_instance_uid)
        found = _decoded(self._send(asked))
        try:
            return [checked_id(item["ID"]) for item in found if item["Type"] == "Instance"]
        except (KeyError, TypeError, NotAnOrthancId):
            raise ArchiveUnavailable("Orthanc answered a lookup with something else") from None

    def study_of(self, instance_id: str) -> str:
        """UID of the study that holds this instance; raises `InstanceNotFound`.

        Not Orthanc's id, which changes with the number of the patient.
        """
        try:
            described = self.json("instances", instance_id, "/study")
            return str(described["MainDicomTags"]["StudyInstanceUID"])
        except (KeyError, TypeError):
            raise ArchiveUnavailable("Orthanc described an instance without its study") from None

    def delete_instance(self, instance_id: str) -> None:
        """Delete one stored object; Orthanc deletes a series with its last one.

        Raises `InstanceNotFound` when somebody else was first.
        """
        asked = self._client.build_request("DELETE", f"/instances/{checked_id(instance_id)}")
        self._send(asked, absent=InstanceNotFound)

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
        return self._send(request, absent=_ABSENT[level])

    def _send(
        self, request: httpx.Request, absent: type[NotInArchive] = NotInArchive
    ) -> httpx.Response:
        try:
            answer = self._client.send(request)
        except httpx.HTTPError as exc:
            raise ArchiveUnavailable(f"Orthanc does not answer: {type(exc).__name__}") from exc
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise absent("Orthanc answered 404")
        if not answer.is_success:
            raise ArchiveUnavailable(f"Orthanc answered {answer.status_code}")
        return answer


def _decoded(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as exc:
        raise ArchiveUnavailable("Orthanc answered with something other than JSON") from exc


@cache
def _shared(url: str, user: str, password: str) -> Orthanc:
    orthanc = Orthanc(url, user, password)
    atexit.register(orthanc.close)
    return orthanc


def archive() -> Orthanc:
    """The archive that the settings name; one pool of connections for the process."""
    site = settings.SITE
    return _shared(site.orthanc_url, site.orthanc_user, site.orthanc_password.get_secret_value())
