"""HTTP to the archive: the only place in the lab. Sessions, limits of time, and tries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Retry as TransportRetry

from consumer.errors import ArchiveUnavailable, TooLarge
from consumer.orthanc.interruptible import (
    InterruptibleResponse,
    InterruptibleSending,
    check_stop_now,
    sending_timeout,
)

#: Seconds to connect, and seconds of silence: before an answer, between two parts of it, and
#: while nothing more is taken of what is sent.
DEFAULT_TIMEOUT = (5.0, 60.0)

#: Bytes taken at once.
_CHUNK = 1024 * 1024


class _Retries(TransportRetry):
    """Checks before it tries again."""

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        check_stop_now()
        super().sleep(response)


#: GETs only: one that fails is sent again after 0.2 s and 0.4 s. What is left goes to a tier.
_RETRIES = _Retries(
    total=2,
    backoff_factor=0.2,
    redirect=0,
    status_forcelist=(502, 503, 504),
    allowed_methods=("GET",),
    raise_on_status=False,
    # A proxy may name hours, and nothing is checked meanwhile.
    respect_retry_after_header=False,
)


class _Connection(InterruptibleSending, HTTPConnection):
    response_class = InterruptibleResponse


class _TlsConnection(InterruptibleSending, HTTPSConnection):
    response_class = InterruptibleResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Connections whose sending and reading can be interrupted."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class Transport:
    """Requests to one base URL, usable from several threads. Nothing of `requests` is raised."""

    def __init__(
        self, url: str, credentials: tuple[str, str], *, timeout: tuple[float, float]
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = credentials
        self._timeout = timeout
        self._local = threading.local()

    def session(self) -> requests.Session:
        """The session of this thread."""
        # requests promises nothing about one Session in two threads.
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.auth = self._credentials
            # No proxy or .netrc of the environment: images go to the configured place only.
            session.trust_env = False
            # With requests' default Orthanc compresses each file: 9 MB/s instead of 82.
            session.headers["Accept-Encoding"] = "identity"
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter(max_retries=_RETRIES))
            self._local.session = session
        return session

    def send(
        self,
        method: str,
        path: str,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> requests.Response:
        """The answer, its body not yet read; close it. Raises `ArchiveUnavailable`."""
        check_stop_now()
        timeout = timeout or self._timeout
        try:
            # urllib3 sends under the limit that is meant for connecting, and all at once: 33 MB
            # in 5 s. Here the limit of silence holds for what is sent as for what is read.
            with sending_timeout(timeout[1]):
                return self.session().request(
                    method,
                    self.url + path,
                    data=data,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    stream=True,
                )
        except requests.RequestException as exc:
            raise ArchiveUnavailable(f"the archive cannot be reached: {_reason(exc)}") from exc

    def expect_ok(self, response: requests.Response) -> None:
        """Raises `ArchiveUnavailable` for every other status."""
        if response.status_code != 200:
            raise ArchiveUnavailable(f"the archive answered HTTP {response.status_code}")

    def pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it comes. Raises `ArchiveUnavailable`."""
        try:
            yield from response.iter_content(_CHUNK)
        except requests.RequestException as exc:
            raise ArchiveUnavailable(f"the archive broke off: {_reason(exc)}") from exc

    def body(self, response: requests.Response, limit: int) -> bytes:
        """The whole body. Raises `ArchiveUnavailable`, and `TooLarge` over `limit` bytes."""
        body = bytearray()
        for piece in self.pieces(response):
            body += piece
            if len(body) > limit:
                raise TooLarge(f"the archive sent more than {limit} bytes for one object")
        return bytes(body)

    def json(self, response: requests.Response) -> Any:
        """The body read as JSON. Raises `ArchiveUnavailable`."""
        try:
            return json.loads(self.body(response, _CHUNK))
        except ValueError:
            raise ArchiveUnavailable("the archive answered something that is no JSON") from None


def _reason(error: requests.RequestException) -> str:
    """Why, in words: readers are shown it. Not the library's text, which holds the URL."""
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection with its certificate"
    return "the connection was refused or lost"
