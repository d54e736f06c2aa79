"""Tokens for staff: to see whose they are and to revoke them. They are made by `mri-web token`."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from web.access.models import ApiToken
from web.readonly import ReadOnlyAdmin, name_of_users


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Deleting is revoking. The hash is shown nowhere."""

    list_display = ("name", "user", "created_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    exclude = ("digest",)

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:  # noqa: ARG002
        """By the token's name, and by what the project's users log in with."""
        return ("name", f"user__{name_of_users()}")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Staff with Django's own permission to delete tokens."""
        # Past the base class, by which nobody deletes.
        return super(ReadOnlyAdmin, self).has_delete_permission(request, obj)
