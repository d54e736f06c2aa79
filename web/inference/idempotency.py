"""A click that names itself: the same key of the same user is the same request, however often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from web.inference.models import IdempotencyKey, InferenceRequest
from web.inference.refusals import NotAsked

#: Printable ASCII: what every client and proxy passes on unchanged.
KEY_PATTERN = r"^[\x20-\x7e]{1,255}$"


@dataclass(frozen=True)
class Wish:
    """What was asked for under which key."""

    user: User
    key: str
    #: SHA-256 of what was asked, in hex.
    digest: str

    def earlier(self) -> InferenceRequest | None:
        """The request that this key has made already; raises `NotAsked` when it was another wish.

        One query, which sees what other transactions have committed.
        """
        kept = IdempotencyKey.objects.select_related("request")
        found = kept.filter(user=self.user, key=self.key).first()
        if found is None:
            return None
        if found.digest != self.digest:
            sentence = _("This Idempotency-Key was used for another request.")
            raise NotAsked("idempotency_key_reused", sentence)
        return found.request

    def keep(self, request: InferenceRequest) -> None:
        """Bind the key to a new request, in its transaction.

        Raises `django.db.IntegrityError` when another transaction was first.
        """
        IdempotencyKey.objects.create(
            user=self.user, key=self.key, digest=self.digest, request=request
        )


def digest_of(
    study_id: str,
    inputs: Sequence[tuple[str, str]],
    model: str | None,
    threshold: float | None,
) -> str:
    """SHA-256 in hex of a wish; `inputs` are (role, series id), in any order."""
    wish = [study_id, sorted(inputs), model, threshold]
    return hashlib.sha256(json.dumps(wish, separators=(",", ":")).encode()).hexdigest()
