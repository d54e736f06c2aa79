"""The page's side: one socket, and what is said over it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from messages.envelope import CONTENT_TYPE
from web.asyncapi.parts import first_line, message_refs, operation
from web.live import messages

#: What a page says.
FROM_PAGE: dict[str, type[BaseModel]] = {"live.follow": messages.Follow}

#: What the site says.
FROM_SITE: dict[str, type[BaseModel]] = {
    "live.snapshot": messages.SnapshotMessage,
    "live.event": messages.EventMessage,
    "live.lab": messages.LabMessage,
    "live.error": messages.ErrorMessage,
}

_CHANNEL = "live"

_DESCRIPTION = """\
A page follows requests and is told of every change. The handshake needs the log-in's cookie and an
`Origin` of this site. Closed with 4401 without a log-in, 1008 for one that asks too much, 1013 when
the page should come again.\
"""


def channels() -> dict[str, Any]:
    """The socket."""
    return {
        _CHANNEL: {
            "address": "/ws/live/",
            "description": _DESCRIPTION,
            "servers": [{"$ref": "#/servers/site"}],
            "messages": message_refs([*FROM_PAGE, *FROM_SITE]),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        }
    }


def operations() -> dict[str, Any]:
    """From the site's side."""
    return {
        "siteIsToldWhatToFollow": operation("receive", _CHANNEL, FROM_PAGE),
        "siteTellsPage": operation("send", _CHANNEL, FROM_SITE),
    }


def described(name: str, model: type[BaseModel], payload: Any) -> dict[str, Any]:
    """A message of the socket; `payload` refers to its schema."""
    return {
        "name": name.removeprefix("live."),
        "title": model.__name__,
        "summary": first_line(model),
        "contentType": CONTENT_TYPE,
        "payload": payload,
    }
