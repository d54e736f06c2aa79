"""Grants for staff to give, and the audit trail to read."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from web.access import token_admin  # noqa: F401 - importing registers
from web.access.models import AuditEntry, StudyGrant
from web.readonly import Base, ReadOnlyAdmin, name_of_users


@admin.register(StudyGrant)
class StudyGrantAdmin(Base):
    """Which group sees which study; who is in a group is on the user's page."""

    list_display = ("group", "study", "created_at")
    list_filter = ("group",)
    list_select_related = ("group",)
    search_fields = ("=study_id", "group__name")

    @admin.display(ordering="study_id")
    def study(self, grant: StudyGrant) -> str:
        """The study, or * for every study."""
        return grant.study_id or "*"


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Newest first; by study, to answer who has seen it."""

    list_display = ("at", "action", "who", "way", "address", "study_id", "subject")
    fields = list_display
    readonly_fields = ("at", "who")
    list_filter = ("action", "way")
    list_select_related = ("user",)
    date_hierarchy = "at"

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:  # noqa: ARG002
        """By what the project's users log in with, or by the id of one who is deleted."""
        return ("=study_id", "=subject", f"=user__{name_of_users()}", "=user__pk")

    @admin.display(description=_("user"), ordering="user_id")
    def who(self, entry: AuditEntry) -> str:
        """The user; of one who is deleted, the id."""
        if entry.user_id is None:
            return ""
        try:
            user = entry.user
        except ObjectDoesNotExist:
            user = None
        # None as well: the list has looked for them already.
        return str(entry.user_id) if user is None else user.get_username()
