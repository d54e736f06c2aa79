"""What sockets read: whole requests for a page, versions to find what a page has missed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView
from web.labs.heartbeats import lab_views

#: Requests that a worklist holds, the newest.
WORKLIST_LENGTH = 200


def requests_by_id(request_ids: Collection[UUID], language: str) -> list[dict[str, Any]]:
    """These requests as a page shows them; unknown ones are left out."""
    rows = InferenceRequest.objects.filter(pk__in=request_ids)
    return [RequestView.of(row, language).model_dump(mode="json") for row in rows]


def worklist(language: str) -> list[dict[str, Any]]:
    """The newest requests as a page shows them."""
    rows = InferenceRequest.objects.order_by("-created_at")[:WORKLIST_LENGTH]
    return [RequestView.of(row, language).model_dump(mode="json") for row in rows]


def versions(request_ids: Collection[UUID]) -> dict[str, int]:
    """The version of each of these requests."""
    rows = InferenceRequest.objects.filter(pk__in=request_ids).values_list("pk", "version")
    return {str(key): version for key, version in rows}


def worklist_versions() -> dict[str, int]:
    """The versions of the newest requests."""
    rows = InferenceRequest.objects.order_by("-created_at").values_list("pk", "version")
    return {str(key): version for key, version in rows[:WORKLIST_LENGTH]}


def labs() -> list[dict[str, Any]]:
    """The labs as a page shows them."""
    return lab_views()
