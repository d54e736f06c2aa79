"""Whoever makes a call: the user, how they came in, from where, and what they see."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

from django.contrib.auth.models import User

from web.door import audit, limits
from web.door.audit import Action, Way
from web.door.grants import EVERYTHING, Anyone, Sight, sight_of
from web.door.limits import Kind


@dataclass(frozen=True)
class Visitor:
    """One caller, for the length of one call."""

    #: None for the old calls from a trusted network: recorded as ``anonymous``.
    user: User | None
    way: Way
    #: The caller's address, or None where it is not known.
    address: str | None
    sight: Sight

    def note(self, action: Action, *, study_id: str = "", subject: str = "") -> None:
        """Write into the audit trail what the visitor does; not every one of many refusals."""
        if action is Action.REFUSED and limits.allowed(Kind.REFUSAL, self._key) is not None:
            return
        audit.note(
            action,
            user_id=None if self.user is None else self.user.pk,
            way=self.way,
            address=self.address,
            study_id=study_id,
            subject=subject,
        )

    def looks_at(self, study_id: str) -> None:
        """Write down that the visitor sees images of the study, once an hour."""
        if limits.allowed(Kind.VIEW, f"{self._key} {study_id}") is None:
            self.note(Action.STUDY_VIEWED, study_id=study_id)

    @property
    def _key(self) -> str:
        return limits.visitor_key(None if self.user is None else self.user.pk, self.address)


def visitor(user: Anyone, *, address: str | None, way: Way = Way.SESSION) -> Visitor:
    """The visitor who is this user; reads what they see. One that is not logged in sees nothing."""
    return Visitor(
        # Of the project's own user model: of Django's in the annotations only.
        user=cast("User", user) if user.is_authenticated else None,
        way=way,
        address=address_in(address),
        sight=sight_of(user),
    )


def neighbour(address: str | None) -> Visitor:
    """The visitor from a trusted network, who sees everything and has no name."""
    return Visitor(user=None, way=Way.NETWORK, address=address_in(address), sight=EVERYTHING)


def visitor_of(request: Any) -> Visitor:
    """The visitor behind a Django request; what a token said of its user comes first."""
    return visitor(
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
