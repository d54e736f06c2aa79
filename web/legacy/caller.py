"""Who makes an old call: a session, a token, or a machine of a trusted network."""

from __future__ import annotations

import math
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest
from django.utils.translation import gettext as _

from web.door import limits
from web.door.audit import Action, Way
from web.door.origin import is_foreign
from web.door.tokens import names_token, user_of_token
from web.door.visitor import Visitor, neighbour, visitor, visitor_of
from web.errors import sentence_for
from web.legacy.answers import Told

#: What a proxy adds to what it passes on.
_FORWARDED = ("Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Via")


def caller_of(request: HttpRequest) -> Visitor:
    """The visitor behind an old call; raises `Told` with 401 when there is none."""
    if hasattr(request, "labrelay_way"):
        # A middleware has read the token already.
        return visitor_of(request)
    address = request.META.get("REMOTE_ADDR")
    header = request.headers.get("Authorization", "")
    # Another scheme is the proxy's own log-in.
    if names_token(header):
        owner = user_of_token(header)
        if owner is None:
            raise Told(401, sentence_for(401))
        return visitor(owner, address=address, way=Way.TOKEN)
    user = request.user if hasattr(request, "user") else get_user(request)
    if user.is_authenticated and user.is_active:
        return visitor(user, address=address)
    if _trusted(request, address):
        return neighbour(address)
    raise Told(401, sentence_for(401))


def at_home(request: HttpRequest) -> None:
    """Raise `Told` with 403 for a call that another site's page makes with a reader's cookies.

    The old front end sends no CSRF token. A call without cookies is held to the same: a browser
    on a trusted machine must not be used either. Raises `DisallowedHost` as well.
    """
    request.get_host()
    if is_foreign({name.lower(): value for name, value in request.headers.items()}):
        raise Told(403, _("Another site sent this. Nothing was changed."))


def not_too_often(caller: Visitor) -> None:
    """Raise `Told` with 429 for one who asks more than a person would: as `web.door.limits`."""
    user_id = None if caller.user is None else caller.user.pk
    wait = limits.allowed(limits.Kind.CHANGE, limits.visitor_key(user_id, caller.address))
    if wait is not None:
        sentence = _("Too many requests. Please try again in %(seconds)d seconds.")
        raise Told(429, sentence % {"seconds": max(1, math.ceil(wait))})


def require_seen(caller: Visitor, study_id: str, subject: str, absent: str) -> None:
    """Raise `Told` with 404 and the sentence for what is not there, unless the study is seen."""
    if not caller.sight.sees(study_id):
        caller.note(Action.REFUSED, study_id=study_id, subject=subject)
        raise Told(404, absent)


def no_such_request() -> Told:
    """For a request that is not there, or not for this caller."""
    return Told(404, _("There is no such request."))


def _trusted(request: HttpRequest, address: str | None) -> bool:
    """Whether the call comes from a trusted network.

    Not when a proxy passed it on without saying for whom: the address is then the proxy's own.
    """
    headers = request.headers
    if "X-Forwarded-For" not in headers and any(name in headers for name in _FORWARDED):
        return False
    try:
        here: Any = ip_address(address or "")
    except ValueError:
        return False
    here = getattr(here, "ipv4_mapped", None) or here
    return any(here in network for network in settings.SITE.trusted_networks)
