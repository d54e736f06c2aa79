"""Whether a call comes from a page of this site: asked of what changes something, and of sockets.

A browser says it in two headers that no page can forge. `Origin` comes with every POST and every
socket; `Sec-Fetch-Site` as well where the site is reached by https or on loopback. A program that
is no browser sends neither, and carries no reader's cookie that it was not given.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.request import validate_host
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import is_same_domain
from django.utils.translation import gettext as _

from web.error_form import PROGRAM_PREFIXES, code_for, error_response

log = structlog.get_logger(__name__)

#: What a browser says of a page of this site, and of an address that a person typed.
OWN_SITES = frozenset({"same-origin", "none"})

#: Methods that change nothing (RFC 9110, 9.2.1).
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

#: What a host or an origin consists of (RFC 6454, 6.1; ``null`` and the words of Sec-Fetch-Site).
_PLAIN = re.compile(r"(?:[a-z][a-z0-9+.-]{0,20}://)?[A-Za-z0-9._:\[\]-]{1,253}")

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def is_foreign(headers: Mapping[str, str], *, friends: bool = True) -> bool:
    """Whether a browser says that another site's page makes this call.

    `headers` have lower-case names and hold `host`. The scheme is not compared: behind a proxy
    that ends TLS a browser says https where the site sees http. With `friends` an origin of
    Django's `CSRF_TRUSTED_ORIGINS` is not foreign: a host project lists its log-in service there.
    """
    origin = headers.get("origin", "").strip().lower()
    if friends and origin and _is_trusted(origin):
        return False
    if headers.get("sec-fetch-site", "none").strip().lower() not in OWN_SITES:
        return True
    return bool(origin) and not _same(origin, _host_of(headers))


def knows_host(headers: Mapping[str, str]) -> bool:
    """Whether the call names a host of `ALLOWED_HOSTS`; Django asks this of its own calls only.

    Without it a page of ``evil.example`` could let its own name lead to this machine, and be one
    of this site's pages by that name.
    """
    host = _name_in(_host_of(headers)) or ""
    allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1"] if settings.DEBUG else [])
    return validate_host(f"[{host}]" if ":" in host else host, allowed)


def same_origin(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: what changes something is refused with 403 when another site's page sends it.

    Also where Django checks a token of its own: log-in, log-out, admin.
    """

    def answer(request: HttpRequest) -> HttpResponseBase:
        if request.method in SAFE_METHODS:
            return get_response(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        # As Django understands it: a host project may trust its proxy's X-Forwarded-Host.
        if not is_foreign(headers | {"host": request.get_host()}):
            return get_response(request)
        seen = compared(headers | {"host": request.get_host()})
        log.warning("foreign_call_refused", method=request.method, **seen)
        sentence = _("Another site sent this. Nothing was changed.")
        if request.path.startswith(PROGRAM_PREFIXES):
            return error_response(403, code_for(403), sentence)
        return render(request, "labrelay/403.html", {"sentence": sentence}, status=403)

    return answer


def own_pages_only(application: Asgi) -> Asgi:
    """Around sockets: the handshake is refused with 403 unless a page of this site makes it.

    Without `Origin` too: every browser sends it with a socket, and machines have the API.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers: dict[str, str] = {}
        for key, value in scope["headers"]:
            name, text = key.decode("latin-1").lower(), value.decode("latin-1")
            # As Django joins a header that came twice: then it is no host and no origin.
            headers[name] = f"{headers[name]},{text}" if name in headers else text
        # No friends: a socket tells everything that its reader sees, and a log-in needs none.
        own = not is_foreign(headers, friends=False)
        known = knows_host(headers)
        if "origin" in headers and known and own:
            await application(scope, receive, send)
            return
        log.warning("foreign_socket_refused", **compared(headers), host_allowed=known)
        await receive()
        # Before it is accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": 4403})

    return answer


def compared(headers: Mapping[str, str]) -> dict[str, str | None]:
    """What a refusal was decided by, for the operator whose proxy changes one of them."""
    site = headers.get("sec-fetch-site")
    return {
        "host": _shown(_host_of(headers)),
        "origin": _shown(headers["origin"]) if "origin" in headers else None,
        "sec_fetch_site": None if site is None else _shown(site),
    }


def _shown(text: str) -> str:
    """A host or an origin as a log may hold it: no path, nobody's words, not without end."""
    text = text.strip()
    return text if _PLAIN.fullmatch(text) else "(unreadable)"


def _host_of(headers: Mapping[str, str]) -> str:
    """The host that was called, as Django understands it.

    `X-Forwarded-Host` counts only where the project says that its proxy sets it: otherwise
    whoever reaches the site could.
    """
    if settings.USE_X_FORWARDED_HOST and "x-forwarded-host" in headers:
        return headers["x-forwarded-host"]
    return headers.get("host", "")


def _is_trusted(origin: str) -> bool:
    """Whether `CSRF_TRUSTED_ORIGINS` names the origin, ``*.`` standing for any subdomain."""
    try:
        here = urlsplit(origin)
    except ValueError:
        return False
    for entry in settings.CSRF_TRUSTED_ORIGINS:
        trusted = entry.lower()
        if "*" not in trusted:
            if origin == trusted:
                return True
            continue
        there = urlsplit(trusted)
        pattern = there.netloc.lstrip("*")
        if here.scheme == there.scheme and is_same_domain(here.netloc, pattern):
            return True
    return False


def _same(origin: str, host: str) -> bool:
    """Whether an origin (``https://name[:port]``) is that of a Host header (``name[:port]``)."""
    try:
        parts = urlsplit(origin)
        usual = _PORTS.get(parts.scheme)
        own = urlsplit(f"//{host.strip()}")
        there = (parts.hostname, parts.port or usual)
        here = (own.hostname, own.port or usual)
    except ValueError:
        # A port that is no number, a bracket that is not closed.
        return False
    if usual is None or not parts.hostname or parts.path or parts.query:
        return False
    return there == here


def _name_in(text: str) -> str | None:
    try:
        return urlsplit(f"//{text.strip()}").hostname
    except ValueError:
        return None
