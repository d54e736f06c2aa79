"""HTTP whose head may not drip either: httpx limits the time between two bytes alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

_this = threading.local()


@contextmanager
def until(end: float) -> Iterator[None]:
    """Let every wait for a byte in here, in this thread, end at that time (monotonic seconds)."""
    _this.end = end
    try:
        yield
    finally:
        _this.end = None


class _Stream(httpcore.NetworkStream):
    """A connection that waits no longer than `until` lets it."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _shorter(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _shorter(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _shorter(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    """Connections of that kind."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(
            super().connect_tcp(host, port, _shorter(timeout), local_address, socket_options)
        )


class Transport(httpx.HTTPTransport):
    """What httpx takes by itself, with connections that keep to `until`."""

    def __init__(self, limits: httpx.Limits) -> None:
        super().__init__(trust_env=False)
        # It takes no backend; of what it makes its pool from, all but the limits is the default.
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(),
        )


def _shorter(timeout: float | None) -> float | None:
    end: float | None = getattr(_this, "end", None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for the whole answer is over")
    return left if timeout is None else min(timeout, left)
