"""The application that owns grants, tokens and the audit trail."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccessConfig(AppConfig):
    """Registered as ``labrelay_door``: a host project may have its own ``door``."""

    name = "web.access"
    label = "labrelay_door"
    # As the migrations have it, whatever a host project has for its own.
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = _("Access")

    def ready(self) -> None:
        """Listen to log-ins and log-outs."""
        from web.access import signals  # noqa: F401 - importing connects
