"""Labs for staff: to look at."""

from __future__ import annotations

from django.contrib import admin

from web.labs.models import Lab
from web.readonly import ReadOnlyAdmin


@admin.register(Lab)
class LabAdmin(ReadOnlyAdmin):
    """Who is there, and since when not."""

    list_display = ("name", "pool", "device", "last_seen")
