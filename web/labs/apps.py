"""The application that owns the list of labs."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LabsConfig(AppConfig):
    """Registered as ``labrelay_labs``: a host project may have its own ``labs``."""

    name = "web.labs"
    label = "labrelay_labs"
    verbose_name = _("Labs")
    # As the migrations have it, whatever a host project has for its own.
    default_auto_field = "django.db.models.BigAutoField"
