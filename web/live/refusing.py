"""The handshake of a socket refused with a status, before the socket opens."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError

log = structlog.get_logger(__name__)

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

#: What a server must say it can, to answer a handshake with more than 403 (ASGI, "Websocket
#: Denial Response").
_DENIAL = "websocket.http.response"

#: In the task of a handshake: that it was answered.
_answered = ContextVar("labrelay_handshake_answered", default=False)


class Answered(logging.Filter):
    """Drops what uvicorn 0.54 says of each handshake that was answered: that it was not."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every other line, and that one where nobody answered."""
        return not (_answered.get() and "without completing handshake" in str(record.msg))


async def refused(scope: Any, send: Any, status: int) -> None:
    """Answer the handshake; 403 where the server can say nothing else."""
    if _DENIAL not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 4000 + status})
        return
    _answered.set(True)
    body = HTTPStatus(status).phrase.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": f"{_DENIAL}.start", "status": status, "headers": headers})
    await send({"type": f"{_DENIAL}.body", "body": body})


def come_again_without_database(application: Asgi) -> Asgi:
    """Around what asks the database who opens a socket: without it the handshake gets 503."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        began = False

        async def sent(message: Any) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await application(scope, receive, sent)
        except (OperationalError, InterfaceError) as exc:
            if began:
                raise
            log.warning("socket_refused", detail=type(exc).__name__)
            await refused(scope, send, HTTPStatus.SERVICE_UNAVAILABLE)

    return answer
