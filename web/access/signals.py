"""What happens when somebody logs in or out, or fails to."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from web.access import audit, limits
from web.access.audit import Action
from web.access.caller import address_in
from web.notify import session_ended


@receiver(user_logged_in, dispatch_uid="labrelay_logged_in")
def _logged_in(request: Any, user: Any, **_: Any) -> None:
    audit.note(Action.LOGGED_IN, user_id=user.pk, address=_address(request))


@receiver(user_login_failed, dispatch_uid="labrelay_login_failed")
def _login_failed(credentials: Any, request: Any = None, **_: Any) -> None:
    # The name is counted and not kept: people type their password into that field.
    limits.wrong_password(credentials.get("username") or "", _address(request))
    audit.note(Action.LOGIN_FAILED, user_id=None, address=_address(request))


@receiver(user_logged_out, dispatch_uid="labrelay_logged_out")
def _logged_out(request: Any, user: Any, **_: Any) -> None:
    if user is not None:
        audit.note(Action.LOGGED_OUT, user_id=user.pk, address=_address(request))
    # Django forgets the session only after this: its sockets are told, and need not look.
    if key := getattr(getattr(request, "session", None), "session_key", None):
        async_to_sync(session_ended)(key)


def _address(request: Any) -> str | None:
    return None if request is None else address_in(request.META.get("REMOTE_ADDR"))
