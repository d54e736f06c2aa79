"""What sockets read: whole requests for a page, versions to find what a page has missed.

Of requests of studies that the reader does not see nothing is read, as if they did not exist.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser

from web.access.grants import EVERYTHING, Anyone, Scope, scope_of
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView
from web.inference.supersession import published_versions, with_supersession
from web.labs.heartbeats import lab_views
from web.live.messages import LabView

#: Requests that a worklist holds, the newest.
WORKLIST_LENGTH = 200


def scope(user: Anyone) -> Scope:
    """What the reader sees now; nothing once they are deactivated or deleted."""
    fresh = get_user_model().objects.filter(pk=user.pk).first() if user.pk else None
    return scope_of(fresh or AnonymousUser())


def requests_by_id(
    request_ids: Collection[UUID], language: str, seen: Scope = EVERYTHING
) -> list[RequestView]:
    """These requests as a page shows them; unknown ones are left out."""
    rows = seen.only(InferenceRequest.objects.filter(pk__in=request_ids))
    return [RequestView.of(row, language) for row in with_supersession(rows)]


def worklist(language: str, seen: Scope = EVERYTHING) -> list[RequestView]:
    """The newest requests as a page shows them."""
    rows = with_supersession(seen.only(InferenceRequest.objects.order_by("-created_at")))
    return [RequestView.of(row, language) for row in rows[:WORKLIST_LENGTH]]


def versions(request_ids: Collection[UUID], seen: Scope = EVERYTHING) -> dict[str, int]:
    """The version that is told of each of these requests."""
    return published_versions(seen.only(InferenceRequest.objects.filter(pk__in=request_ids)))


def worklist_versions(seen: Scope = EVERYTHING) -> dict[str, int]:
    """The versions that are told of the newest requests."""
    rows = seen.only(InferenceRequest.objects.order_by("-created_at"))
    return published_versions(rows, WORKLIST_LENGTH)


def labs() -> list[LabView]:
    """The labs as a page shows them."""
    return [LabView.model_validate(lab) for lab in lab_views()]
