"""A reader without a browser: logs in, asks for an analysis, follows the socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect


class PageRefused(Exception):
    """The site answered with an error; the text is its sentence."""


class Reader:
    """Speaks to the site as the page's script does: session cookie, CSRF token, socket."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=30.0, headers={"Referer": f"{url}/"})
        try:
            self._log_in(user, password)
        except BaseException:
            self.close()
            raise

    def _log_in(self, user: str, password: str) -> None:
        self._client.get("/login/").raise_for_status()
        answer = self._client.post(
            "/login/",
            data={
                "username": user,
                "password": password,
                "csrfmiddlewaretoken": self._client.cookies["csrftoken"],
            },
        )
        if "sessionid" not in self._client.cookies:
            raise PageRefused(f"the log-in failed with {answer.status_code}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    @property
    def cookies(self) -> dict[str, str]:
        """What a browser of this reader would send along."""
        return dict(self._client.cookies)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        """POST JSON as the page does."""
        token = {"X-CSRFToken": self._client.cookies["csrftoken"]}
        return self._client.post(path, json=body, headers=token | (headers or {}))

    def get(self, path: str) -> httpx.Response:
        """GET with the session's cookie."""
        return self._client.get(path)

    def ask(self, study_id: str, series_by_role: dict[str, str], **more: Any) -> dict[str, Any]:
        """Press the button; returns the request as the API shows it. Raises `PageRefused`."""
        inputs = [{"role": role, "series_id": s} for role, s in series_by_role.items()]
        answer = self.post("/api/v1/requests", {"study_id": study_id, "inputs": inputs, **more})
        if answer.status_code != 202:
            raise PageRefused(answer.json()["error"]["message"])
        request: dict[str, Any] = answer.json()
        return request

    def read(self, request_id: str) -> dict[str, Any]:
        """The request as a fresh load of the page shows it."""
        request: dict[str, Any] = self.get(f"/api/v1/requests/{request_id}").json()
        return request

    def follow(self, request_id: str, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield each newer version of the request that the socket tells."""
        version = 0
        deadline = time.monotonic() + timeout
        with _refusals_said(), self.socket() as socket:
            socket.send(json.dumps({"type": "follow", "request_ids": [request_id]}))
            while (left := deadline - time.monotonic()) > 0:
                try:
                    message = json.loads(socket.recv(timeout=left))
                except TimeoutError:
                    return
                told = message.get("requests") or [message.get("request")]
                for request in filter(None, told):
                    if request["request_id"] == request_id and request["version"] > version:
                        version = request["version"]
                        yield request

    def wait(
        self, request_id: str, until: Callable[[dict[str, Any]], bool], timeout: float
    ) -> dict[str, Any]:
        """Follow until the condition holds. Raises `TimeoutError` with the last state."""
        state = "unknown"
        for request in self.follow(request_id, timeout):
            state = request["state"]
            if until(request):
                return request
        raise TimeoutError(f"request {request_id} was still {state} after {timeout:.0f} s")

    def socket(self) -> Any:
        """Open the live socket with the session's cookie."""
        cookies = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        return connect(
            self._url.replace("http", "ws", 1) + "/ws/live/",
            additional_headers={"Cookie": cookies, "Origin": self._url},
            proxy=None,
        )


@contextmanager
def _refusals_said() -> Iterator[None]:
    try:
        yield
    except WebSocketException as exc:
        raise PageRefused(f"the live socket was closed ({type(exc).__name__})") from exc


#: States after which nothing more happens by itself.
ENDED = frozenset({"completed", "failed", "cancelled", "dead"})


def ended(request: dict[str, Any]) -> bool:
    """Whether the request has an outcome."""
    return request["state"] in ENDED
