"""The addresses of the sockets."""

from __future__ import annotations

from typing import Any

from django.urls import path

from web.live.refusing import refused
from web.live.socket import LiveSocket
from web.routes import SOCKET_ROUTE

websocket_urlpatterns: list[Any] = [path(SOCKET_ROUTE, LiveSocket.as_asgi())]


async def no_such_socket(scope: Any, receive: Any, send: Any) -> None:
    """Refuse the handshake of every other address. Of the site's router, not of a host's own."""
    await receive()
    await refused(scope, send, 404)
