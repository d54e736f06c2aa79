"""A click that names itself: the same key of the same user is the same request, however often.

Also after the request has ended, and after restarts: the key is stored in the transaction that
makes the request, or finds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from web.inference.models import IdempotencyKey, InferenceRequest
from web.phases.chosen import Selection
from web.refusals import NotAsked

#: Printable ASCII: what every client and proxy passes on unchanged.
KEY_PATTERN = r"^[\x20-\x7e]{1,255}$"


@dataclass(frozen=True)
class NamedClick:
    """What was asked for under which key."""

    user: User
    key: str
    #: SHA-256 of what was asked, in hex.
    digest: str

    def earlier(self) -> InferenceRequest | None:
        """The request that this key has made already; raises `NotAsked` when it was for another.

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
        """Bind the key to its request, in the transaction that makes or finds it.

        Raises `django.db.IntegrityError` when another transaction was first.
        """
        IdempotencyKey.objects.create(
            user=self.user, key=self.key, digest=self.digest, request=request
        )


def named_click(user: User | None, key: str | None, digest: str) -> NamedClick | None:
    """The click of a user that gave a key; None without either."""
    return None if user is None or key is None else NamedClick(user, key, digest)


def digest_of(
    study_id: str,
    inputs: Sequence[Selection],
    model: str | None,
    threshold: float | None,
) -> str:
    """SHA-256 in hex of what a click asks for; the `inputs` in any order."""
    return _sha256([study_id, sorted(_named(item) for item in inputs), model, threshold])


def digest_of_retry(request_id: UUID) -> str:
    """SHA-256 in hex of the click that asks for this request again."""
    return _sha256(["retry", str(request_id)])


def _named(item: Selection) -> tuple[str, ...]:
    # Of a whole series no more than ever: keys are kept over an update of the site.
    whole = (item.role, item.series_id)
    return whole if item.phase is None else (*whole, item.phase.keyword, item.phase.value)


def _sha256(asked: list[object]) -> str:
    return hashlib.sha256(json.dumps(asked, separators=(",", ":")).encode()).hexdigest()
