"""Bearer tokens: a machine's way in. What it presents is shown once; only its hash is kept."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from web.access.models import ApiToken

#: What every token begins with, so that a scanner of leaked secrets can know it.
PREFIX = "lrt_"

#: Random bytes of a token; 43 characters as URL-safe text.
_RANDOM_BYTES = 32

#: How exact `last_used_at` is: a busy machine must not write with every call.
USE_NOTED_EVERY = timedelta(minutes=1)

_SCHEME = "bearer"


def issue(user: User, name: str, expires_at: datetime | None = None) -> str:
    """Make a token for the user and return it: the only moment at which it can be read.

    `name` says what it is for. Without `expires_at` it is valid until it is revoked.
    """
    token = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    ApiToken.objects.create(user=user, name=name, digest=_digest(token), expires_at=expires_at)
    return token


def names_token(header_value: str) -> bool:
    """Whether an ``Authorization`` header is about a bearer token at all."""
    return header_value.partition(" ")[0].lower() == _SCHEME


def user_of_token(header_value: str) -> User | None:
    """The user of an ``Authorization: Bearer …`` header, or None.

    None for an unknown token, an expired one, and one of a user who may not log in any more. One
    query; blocks on the database.
    """
    if not names_token(header_value):
        return None
    token = header_value.partition(" ")[2].strip()
    if not token.startswith(PREFIX):
        return None
    now = timezone.now()
    valid = ApiToken.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now))
    # Found by its hash: how long that takes says nothing of the token.
    found = valid.select_related("user").filter(digest=_digest(token), user__is_active=True).first()
    if found is None:
        return None
    _note_use(found, now)
    return found.user


def _note_use(token: ApiToken, now: datetime) -> None:
    if token.last_used_at is None or now - token.last_used_at >= USE_NOTED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
