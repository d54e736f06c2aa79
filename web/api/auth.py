"""Who makes a call: the reader of the session's cookie, or the user behind a machine's token."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja.security import HttpBearer, SessionAuth

from web.access import limits
from web.access.audit import Way
from web.access.tokens import names_token, user_of_token
from web.api.errors import TooMany

_HEADER = "Authorization"


class Bearer(HttpBearer):
    """``Authorization: Bearer lrt_…``, made by ``mri-web token create``."""

    openapi_description = "A token that `mri-web token create` has made."

    def __call__(self, request: HttpRequest) -> Any:
        """Return the token's user, who from here on is the request's; None without.

        Raises `TooMany` for a user who has made too many calls, from whichever addresses.
        """
        user = user_of_token(request.headers.get(_HEADER, ""))
        if user is not None:
            if (wait := limits.count_token(request, user.pk)) is not None:
                raise TooMany(wait)
            request.user = user
            # What `web.access.caller` writes into the audit trail.
            request.labrelay_way = Way.TOKEN  # type: ignore[attr-defined]
        return user

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        """Ninja's own way in, not used: it would cut the header apart a second time."""
        raise NotImplementedError


class Session(SessionAuth):
    """The cookie of the log-in page. `web.access.origin` refuses what another site's page sends."""

    openapi_description = "The cookie of the log-in page."

    def __init__(self) -> None:
        super().__init__(csrf=False)

    def __call__(self, request: HttpRequest) -> Any:
        """Return the session's user, unless the call names a token: then that alone decides."""
        if names_token(request.headers.get(_HEADER, "")):
            return None
        return super().__call__(request)
