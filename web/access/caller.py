"""Whoever makes a call: the user, how they came in, from where, and what they see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import transaction

from web.access import audit, limits
from web.access.audit import Action, Way
from web.access.grants import EVERYTHING, Anyone, Scope, scope_of
from web.access.limits import Kind

#: Written down once an hour for the same caller, way, address and thing.
ONCE_AN_HOUR = frozenset({Action.STUDIES_LISTED, Action.STUDY_VIEWED, Action.RESULT_VIEWED})


@dataclass(frozen=True)
class Caller:
    """One caller, for the length of one call."""

    #: None for the old calls from a trusted network: recorded as ``anonymous``.
    user: User | None
    way: Way
    #: The caller's address, or None where it is not known.
    address: str | None
    scope: Scope

    def note(self, action: Action, *, study_id: str = "", subject: str = "") -> None:
        """Write into the audit trail what the caller does, before they are answered.

        Not every one of many refusals, and looks at the same thing once an hour.
        """
        counted = self._counted(action, subject or study_id)
        if counted is not None and limits.exhausted(*counted) is not None:
            return
        audit.note(
            action,
            user_id=None if self.user is None else self.user.pk,
            way=self.way,
            address=self.address,
            study_id=study_id,
            subject=subject,
        )
        if counted is not None:
            # Only once it is written for good: an entry that was lost is written the next time.
            transaction.on_commit(partial(limits.allowed, *counted))

    def sees_results(self, told: Iterable[tuple[str, object]]) -> None:
        """Write down that the caller is told these results: pairs of study and request id."""
        action = Action.RESULT_VIEWED
        due = [
            (study_id, str(request_id))
            for study_id, request_id in told
            if limits.exhausted(*self._look(action, str(request_id))) is None
        ]
        if not due:
            return
        # Together: the reader of a long list waits for the database once.
        with transaction.atomic():
            for study_id, subject in due:
                self.note(action, study_id=study_id, subject=subject)

    def _counted(self, action: Action, thing: str) -> tuple[Kind, str] | None:
        """As what an entry is counted; None where every one is written."""
        if action is Action.REFUSED:
            return Kind.REFUSAL, self._key
        return self._look(action, thing) if action in ONCE_AN_HOUR else None

    def _look(self, action: Action, thing: str) -> tuple[Kind, str]:
        # With way and address: the same user from elsewhere may be somebody else.
        address = limits.address_key(self.address)
        return Kind.VIEW, f"{self._key} {self.way} {address} {action} {thing}"

    @property
    def _key(self) -> str:
        return limits.caller_key(None if self.user is None else self.user.pk, self.address)


def caller(user: Anyone, *, address: str | None, way: Way = Way.SESSION) -> Caller:
    """The caller who is this user; reads what they see. One that is not logged in sees nothing."""
    return Caller(
        # Of the project's own user model: of Django's in the annotations only.
        user=cast("User", user) if user.is_authenticated else None,
        way=way,
        address=address_in(address),
        scope=scope_of(user),
    )


def neighbour(address: str | None) -> Caller:
    """The caller from a trusted network, who sees everything and has no name."""
    return Caller(user=None, way=Way.NETWORK, address=address_in(address), scope=EVERYTHING)


def caller_of(request: Any) -> Caller:
    """The caller behind a Django request; what a token said of its user comes first."""
    return caller(
        request.user,
        address=request.META.get("REMOTE_ADDR"),
        way=getattr(request, "labrelay_way", Way.SESSION),
    )


def address_in(text: str | None) -> str | None:
    """An IP address in its usual form; None for a socket's path or a test's name."""
    try:
        return str(ip_address(text or ""))
    except ValueError:
        return None
