"""The application that owns requests."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class InferenceConfig(AppConfig):
    """Registered as ``labrelay_inference``: a host project may have its own ``inference``."""

    name = "web.inference"
    label = "labrelay_inference"
    verbose_name = _("Analysis requests")
    # As the migrations have it, whatever a host project has for its own.
    default_auto_field = "django.db.models.BigAutoField"
