"""Admin pages that show rows and change none. The unused arguments are Django's signatures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.contrib.auth import get_user_model
from django.http import HttpRequest

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

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


def column(name: str, title: str | _StrPromise) -> Callable[[Any], Any]:
    """A field under a title that can be translated; Django's own would be the field's name."""

    @admin.display(description=title, ordering=name)
    def shown(row: Any) -> Any:
        # On a row's own page Django writes a time out as Python does.
        return display_for_value(getattr(row, name), "-")

    # What Django makes the column's class in the page of.
    shown.__name__ = name
    return shown


def titled(title: str | _StrPromise) -> type[admin.AllValuesFieldListFilter]:
    """A filter by the values of a field, under a title that can be translated."""

    class Titled(admin.AllValuesFieldListFilter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.title = title

    return Titled


def name_of_users() -> str:
    """The field by which users log in: a host project's own may have no ``username``."""
    field: str = get_user_model().USERNAME_FIELD
    return field
