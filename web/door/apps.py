"""The application that owns grants, tokens and the audit trail."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DoorConfig(AppConfig):
    """Registered as ``door``."""

    name = "web.door"
    label = "door"
    verbose_name = _("Access")
