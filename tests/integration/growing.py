"""A real Orthanc of which a test says what still grows: its own word lasts for seconds only."""

from __future__ import annotations

import json
from typing import Any

import httpx

from infra.local.orthanc import OrthancNode
from web.orthanc.archive import Orthanc


class Growing(httpx.BaseTransport):
    """Passes every call on; of each series in an answer it says whether that is stable."""

    def __init__(self) -> None:
        self._onwards = httpx.HTTPTransport()
        #: Orthanc's ids of the series that are not stable.
        self.series: set[str] = set()
        #: Whether nobody answers at all.
        self.away = False
        #: Addresses that were asked for, without the host.
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.away:
            raise httpx.ConnectError("away")
        answer = self._onwards.handle_request(request)
        body = answer.read()
        answer.close()
        if answer.headers.get("content-type", "").startswith("application/json"):
            body = json.dumps(self._said(json.loads(body))).encode()
        return httpx.Response(answer.status_code, content=body, headers={"content-type": "x/x"})

    def close(self) -> None:
        self._onwards.close()

    def _said(self, found: Any) -> Any:
        if isinstance(found, list):
            return [self._said(item) for item in found]
        if isinstance(found, dict) and found.get("Type") == "Series":
            return found | {"IsStable": found["ID"] not in self.series}
        return found


def growing(node: OrthancNode) -> tuple[Orthanc, Growing]:
    """The site's client of this archive, and what decides on its series; the client is closed."""
    transport = Growing()
    return Orthanc(node.url, node.user, node.password, transport=transport), transport
