"""Grants for staff to give, and the audit trail to read."""

from __future__ import annotations

from django.contrib import admin

from web.door import token_admin  # noqa: F401 - importing registers
from web.door.models import AuditEntry, StudyGrant
from web.readonly import Base, ReadOnlyAdmin


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

    list_display = ("at", "action", "user", "way", "address", "study_id", "subject")
    list_filter = ("action", "way")
    list_select_related = ("user",)
    search_fields = ("=study_id", "=subject", "=user__username")
    date_hierarchy = "at"
