"""The application that follows the archive's changes."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class FollowerConfig(AppConfig):
    """Registered as ``labrelay_follower``: a host project may have its own ``follower``."""

    name = "web.follower"
    label = "labrelay_follower"
    verbose_name = _("Archive index")
    # As the migrations have it, whatever a host project has for its own.
    default_auto_field = "django.db.models.BigAutoField"
