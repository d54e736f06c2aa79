"""Who makes an old call: a session, a token, or a machine of a trusted network."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.utils.translation import gettext as _

from web.access import limits
from web.access.audit import Action, Way
from web.access.caller import Caller, caller, caller_of, neighbour
from web.access.origin import compared, is_foreign
from web.access.tokens import names_token, user_of_token
from web.error_form import sentence_for
from web.legacy.answers import CallEnded

log = structlog.get_logger(__name__)

#: What a proxy adds to what it passes on, beside ``X-Forwarded-…``.
_PROXY = frozenset({"forwarded", "x-real-ip", "via"})


def require_caller(request: HttpRequest) -> Caller:
    """The caller behind an old call; raises `CallEnded` with 401 when there is none."""
    if hasattr(request, "labrelay_way"):
        # A middleware has read the token already.
        return caller_of(request)
    address = request.META.get("REMOTE_ADDR")
    header = request.headers.get("Authorization", "")
    # Another scheme is the proxy's own log-in.
    if names_token(header):
        owner = user_of_token(header)
        if owner is None:
            raise CallEnded(401, sentence_for(401))
        return caller(owner, address=address, way=Way.TOKEN)
    user = request.user if hasattr(request, "user") else get_user(request)
    if user.is_authenticated and user.is_active:
        return caller(user, address=address)
    if _trusted(request, address):
        return neighbour(address)
    raise CallEnded(401, sentence_for(401))


def at_home(request: HttpRequest) -> None:
    """Raise `CallEnded` with 403 for a call that another site's page makes with a reader's cookies.

    The old front end sends no CSRF token. A call without cookies is held to the same: a browser
    on a trusted machine must not be used either. Raises `DisallowedHost` as well.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    # As Django understands it: a host project may trust its proxy's X-Forwarded-Host.
    headers["host"] = request.get_host()
    if is_foreign(headers):
        log.warning("foreign_call_refused", method=request.method, **compared(headers))
        raise CallEnded(403, _("Another site sent this. Nothing was changed."))


def not_too_many_from(request: HttpRequest) -> None:
    """Raise `CallEnded` with 429 for an address that asks too much, whoever calls from it.

    Asked before the database is, so that strangers cannot fill the threads of those who wait.
    """
    # Apart from the pages' callers behind the same address.
    _count(f"waiting {limits.address_key(request.META.get('REMOTE_ADDR'))}")


def not_too_often(caller: Caller) -> None:
    """Raise `CallEnded` with 429 for a user who asks more than a person would."""
    # One without a name was counted by the address.
    if caller.user is not None:
        _count(limits.caller_key(caller.user.pk, caller.address))


def require_seen(caller: Caller, study_id: str, subject: str, absent: str) -> None:
    """Raise `CallEnded` with 404 and the sentence for what is not there, unless it is seen."""
    if not caller.scope.sees(study_id):
        caller.note(Action.REFUSED, study_id=study_id, subject=subject)
        raise CallEnded(404, absent)


def no_such_request() -> CallEnded:
    """For a request that is not there, or not for this caller."""
    return CallEnded(404, _("There is no such request."))


def _count(key: str) -> None:
    wait = limits.allowed(limits.Kind.CHANGE, key)
    if wait is not None:
        sentence = _("Too many requests. Please try again in %(seconds)d seconds.")
        raise CallEnded(429, sentence % {"seconds": max(1, math.ceil(wait))})


def _trusted(request: HttpRequest, address: str | None) -> bool:
    """Whether the call comes from a trusted network, and not through a proxy that stands there."""
    here = _address(address)
    if here is None or not _in_trusted_network(here):
        return False
    headers = {name.lower() for name in request.headers}
    if any(name in _PROXY or name.startswith("x-forwarded-") for name in headers):
        named = [_address(one) for one in request.headers.get("X-Forwarded-For", "").split(",")]
        # If the server does not read the header, the address is the proxy's own. And a caller can
        # write into the list, but cannot keep the proxy from adding whence the call came.
        if here not in named or not all(one and _in_trusted_network(one) for one in named):
            return False
    # A proxy on this machine that adds nothing may still pass on the name that was asked for.
    return not here.is_loopback or _names_loopback(request.headers.get("Host", ""))


def _in_trusted_network(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in settings.SITE.trusted_networks)


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    """An address, also with a port; one of IPv4 in the clothes of IPv6 is undressed."""
    text = (text or "").strip()
    try:
        parsed = ip_address(text)
    except ValueError:
        try:
            parsed = ip_address(urlsplit(f"//{text}").hostname or "")
        except ValueError:
            return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _names_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host.strip().lower().partition(":")[0] == "localhost"
