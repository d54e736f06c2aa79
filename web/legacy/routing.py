"""Addresses of the calls that wait; tried before Django's."""

from __future__ import annotations

from typing import Any

from django.urls import re_path

from web.legacy.waiting import WaitingCall

_BASE = r"^api/mri/segmentation"

#: For Channels' `URLRouter`.
waiting_urlpatterns: list[Any] = [
    re_path(rf"{_BASE}/{level}/(?P<named>[^/]+)/{verb}/?$", application)
    for level, verb, application in (
        ("series", "segment", WaitingCall.as_asgi(level="series")),
        ("series", "request-local", WaitingCall.as_asgi(level="series", local=True)),
        ("instances", "segment", WaitingCall.as_asgi(level="instances")),
    )
]
