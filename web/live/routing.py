"""The addresses of the sockets."""

from __future__ import annotations

from typing import Any

from django.urls import path

from web.live.socket import LiveSocket

websocket_urlpatterns: list[Any] = [path("ws/live/", LiveSocket.as_asgi())]
