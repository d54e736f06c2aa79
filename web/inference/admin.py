"""Requests and dead letters for staff: to look at."""

from __future__ import annotations

from django.contrib import admin

from web.inference.models import DeadLetter, InferenceRequest
from web.readonly import ReadOnlyAdmin


@admin.register(InferenceRequest)
class InferenceRequestAdmin(ReadOnlyAdmin):
    """Newest first; by state and lab."""

    list_display = ("id", "state", "model", "created_at", "finished_at", "lab", "failure_code")
    list_filter = ("state", "model", "lab")
    ordering = ("-created_at",)
    search_fields = ("=id", "=study_id")


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """When, where and why; the body stays in the database, it may hold anything."""

    list_display = ("received_at", "queue", "reason", "type", "size", "request")
    list_filter = ("queue", "reason", "type")
    list_select_related = ("request",)
    exclude = ("body",)
