"""Admin pages that show rows and change none. The unused arguments are Django's signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    # Only the stubs know the parameter.
    Base = admin.ModelAdmin


class ReadOnlyAdmin(Base):
    """Rows of this site are changed by events and never by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        """Nobody deletes."""
        return False


def name_of_users() -> str:
    """The field by which users log in: a host project's own may have no ``username``."""
    field: str = get_user_model().USERNAME_FIELD
    return field
