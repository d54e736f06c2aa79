"""How often one caller may do something. Counted in the memory of each process.

The figures are far above what a person does and far below what hurts the others: they stop a
script that guesses passwords or that has lost its mind, and no reader.
"""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from web.access.origin import SAFE_METHODS
from web.access.tokens import names_token
from web.error_form import PROGRAM_PREFIXES, code_for, error_response

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """What is counted, each for itself."""

    #: Log-ins from one address, whether they succeed or not: each costs a slow hash.
    LOGIN = "login"
    #: Wrong passwords from one address, and for one user name from anywhere.
    WRONG_FROM = "wrong_from"
    WRONG_FOR = "wrong_for"
    #: Calls that change something, of one caller.
    CHANGE = "change"
    #: Calls that only read, of one caller.
    READ = "read"
    #: Sockets that one caller opens, and messages over one socket.
    SOCKET = "socket"
    MESSAGE = "message"
    #: Entries of the audit trail that say that a caller looks at one thing.
    VIEW = "view"
    #: Entries of the audit trail that say that a caller was refused.
    REFUSAL = "refusal"


_LIMITS: dict[Kind, RateLimitItem] = {
    #: A whole clinic may stand behind one address.
    Kind.LOGIN: RateLimitItemPerMinute(120),
    Kind.WRONG_FROM: RateLimitItemPerMinute(50, 15),
    #: 20 in a quarter of an hour are 2000 a day: hopeless against a password that Django accepts.
    Kind.WRONG_FOR: RateLimitItemPerMinute(20, 15),
    #: Five a second; a whole worklist may be sent in one go.
    Kind.CHANGE: RateLimitItemPerMinute(300),
    #: Four phases of 134 slices are 536 at once; ten such studies a minute, and what is around.
    Kind.READ: RateLimitItemPerMinute(6000),
    #: A page that reconnects does it twice a second at first, and less and less.
    Kind.SOCKET: RateLimitItemPerMinute(120),
    Kind.MESSAGE: RateLimitItemPerMinute(120),
    #: Scrolling through a study is one look at it, not a thousand, and so is reading a list anew.
    Kind.VIEW: RateLimitItemPerHour(1),
    #: A script that tries ids must not fill the database; the first of a minute say enough.
    Kind.REFUSAL: RateLimitItemPerMinute(60),
}

#: On a request: the user of its token was counted.
_COUNTED_BY_USER = "labrelay_counted"

#: Characters of a user name that are counted; Django allows 150, and a host's model may more.
LONGEST_NAME = 254

_limiter = MovingWindowRateLimiter(MemoryStorage())


def allowed(kind: Kind, key: str) -> float | None:
    """Count one more of this kind for `key`; the seconds to wait if that is too many, or None."""
    if _limiter.hit(_LIMITS[kind], kind, key):
        return None
    return _wait(kind, key)


def exhausted(kind: Kind, key: str) -> float | None:
    """The seconds to wait before one more would be taken, or None; counts nothing."""
    return None if _limiter.test(_LIMITS[kind], kind, key) else _wait(kind, key)


def reset() -> None:
    """Forget everything that was counted: for tests."""
    _limiter.storage.reset()


def caller_key(user_id: int | None, address: str | None) -> str:
    """By what a caller is counted: the user, or the address of one who is not logged in."""
    return f"user {user_id}" if user_id is not None else address_key(address)


def address_key(address: str | None) -> str:
    """By what an address is counted: of IPv6 the network, for a host has 2^64 addresses."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "address unknown"
    if isinstance(parsed, IPv6Address):
        return f"address {int(parsed) >> 64:x}::"
    return f"address {parsed}"


def wrong_password(username: str, address: str | None) -> None:
    """Count a log-in that failed; by address alone where a host asks for no user name."""
    allowed(Kind.WRONG_FROM, address_key(address))
    if username:
        allowed(Kind.WRONG_FOR, _name_key(username))


def rate_limited(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: who does too much is told with 429 how long to wait.

    Whose token a call names is found out by the view: until then nobody is counted, and after it
    the address of a call that named nobody's.
    """

    def answer(request: HttpRequest) -> HttpResponseBase:
        wait = _wait_of(request)
        if wait is not None:
            return too_many(request, wait)
        response = get_response(request)
        if _by_token(request) and not hasattr(request, _COUNTED_BY_USER):
            allowed(_kind_of(request), _token_key(request))
        return response

    return answer


def count_token(request: HttpRequest, user_id: Any) -> float | None:
    """Count a call of a token's user; the seconds to wait if that is too many, or None."""
    setattr(request, _COUNTED_BY_USER, True)
    wait = allowed(_kind_of(request), caller_key(user_id, None))
    if wait is not None:
        log.warning("rate_limited", kind=_kind_of(request).value, user_id=user_id)
    return wait


def too_many(request: HttpRequest, wait: float) -> HttpResponse:
    """The answer to a call that came too soon: a page, or JSON for programs."""
    seconds = max(1, math.ceil(wait))
    sentence = _("Too many requests. Please try again in %(seconds)d seconds.") % {
        "seconds": seconds
    }
    response: HttpResponse
    if request.path.startswith(PROGRAM_PREFIXES):
        response = error_response(429, code_for(429), sentence)
    else:
        response = render(request, "labrelay/429.html", {"sentence": sentence}, status=429)
    response.headers["Retry-After"] = str(seconds)
    response.headers["Cache-Control"] = "no-store"
    return response


def _wait_of(request: HttpRequest) -> float | None:
    address = request.META.get("REMOTE_ADDR")
    user = getattr(request, "user", None)
    user_id = user.pk if user is not None and user.is_authenticated else None
    kind = _kind_of(request)
    if _by_token(request):
        wait = exhausted(kind, _token_key(request))
    else:
        wait = allowed(kind, caller_key(user_id, address))
    if wait is None and request.method == "POST" and request.path in _login_paths():
        here, username = address_key(address), request.POST.get("username", "")
        kind = Kind.LOGIN
        wait = allowed(kind, here) or exhausted(Kind.WRONG_FROM, here)
        if wait is None and username:
            wait = exhausted(Kind.WRONG_FOR, _name_key(username))
    if wait is not None:
        log.warning("rate_limited", kind=kind.value, user_id=user_id)
    return wait


def _kind_of(request: HttpRequest) -> Kind:
    return Kind.READ if request.method in SAFE_METHODS else Kind.CHANGE


def _by_token(request: HttpRequest) -> bool:
    return names_token(request.headers.get("Authorization", ""))


def _token_key(request: HttpRequest) -> str:
    # Apart from the pages' readers behind the same address.
    return f"token {address_key(request.META.get('REMOTE_ADDR'))}"


def _login_paths() -> set[str]:
    """Where passwords are taken: the site's page and Django's for staff."""
    paths = {resolve_url(settings.LOGIN_URL)}
    # A host may have no admin of Django's.
    with suppress(NoReverseMatch):
        paths.add(reverse("admin:login"))
    return paths


def _name_key(username: Any) -> str:
    """By what a name is counted: every spelling that the log-in takes for the same name is one.

    As the user model and Django's form compare names, and as a database may that knows no case. No
    longer than a name can be: nobody logs in by a longer one.
    """
    text = str(username).strip()[:LONGEST_NAME]
    folded = _normalised(_normalised(text).casefold())
    return f"name {folded.strip()[:LONGEST_NAME]}"


def _normalised(name: str) -> str:
    # Django's form does the first of these, and a host's user model may do something else.
    normal = unicodedata.normalize("NFKC", name)
    user_model: Any = get_user_model()
    if issubclass(user_model, AbstractBaseUser):
        normal = str(user_model.normalize_username(normal))
    return normal


def _wait(kind: Kind, key: str) -> float:
    reset_at = _limiter.get_window_stats(_LIMITS[kind], kind, key).reset_time
    return max(0.1, reset_at - time.time())
