"""Keeps addresses out of the log: what somebody typed into one may be a patient's name."""

from __future__ import annotations

import logging
import re
from typing import Any

from django.urls import Resolver404, resolve

#: The address of the socket of a page.
SOCKET_ROUTE = "ws/live/"

#: In place of an address that leads nowhere.
NOWHERE = "(no such address)"

#: A Host header that can be shown: what a network knows by it is no person's name.
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,100}")

#: Of uvicorn, with the address of a socket as the second argument.
_SOCKET_LINE = '"WebSocket %s"'

_LIBRARIES = ("uvicorn", "websockets")


class RouteOnly(logging.Filter):
    """Lines about a call name the pattern of its address, ``studies/<str:study_id>/``.

    Whatever form the address has: as it was decoded, as it was sent, or escaped as Django writes
    it. What an exception says is not kept either: it quotes what was sent.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace what was sent among the line's arguments; keep every line."""
        request = getattr(record, "request", None)
        if getattr(request, "path", None) is not None:
            if record.name.startswith("django.security.") and not record.args:
                _say_refusal(record, request)
            elif isinstance(record.args, tuple):
                record.args = tuple(_logged(part, request, record) for part in record.args)
        elif record.name.startswith(_LIBRARIES) and isinstance(record.args, tuple):
            record.args = _of_library(record)
        return True


def _logged(part: Any, request: Any, record: logging.LogRecord) -> Any:
    if not isinstance(part, str):
        return part
    if part in _forms(request.path) or part in _forms(request.get_full_path()):
        return _route(request)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and part in _forms(str(error)):
        return type(error).__name__
    # Of no line of Django's that is known; an address all the same.
    return _route(request) if part.startswith("/") else part


def _forms(text: str) -> set[str]:
    return {text, text.encode("unicode_escape").decode("ascii")}


def _say_refusal(record: logging.LogRecord, request: Any) -> None:
    """A suspicious call: what Django says of it is the text of an exception."""
    kind = record.name.rpartition(".")[2]
    if kind == "DisallowedHost":
        # An operator who forgot a name in ALLOWED_HOSTS must see which.
        host = str(request.META.get("HTTP_HOST", ""))
        shown = host if _HOST.fullmatch(host) else "(not a host name)"
        record.msg, record.args = "%s: host %s is not in ALLOWED_HOSTS", (kind, shown)
    else:
        record.msg, record.args = "%s: %s", (kind, _route(request))


def _route(request: Any) -> str:
    match = getattr(request, "resolver_match", None)
    if match is None:
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return NOWHERE
    return str(match.route) or "/"


def _of_library(record: logging.LogRecord) -> tuple[Any, ...]:
    args: tuple[Any, ...] = record.args  # type: ignore[assignment]
    if _SOCKET_LINE in str(record.msg) and len(args) > 1:
        path = str(args[1]).partition("?")[0].lstrip("/")
        args = (args[0], path if path == SOCKET_ROUTE else NOWHERE, *args[2:])
    return tuple(NOWHERE if isinstance(one, str) and one.startswith("/") else one for one in args)
