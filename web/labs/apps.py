"""The application that owns the list of labs."""

from __future__ import annotations

from django.apps import AppConfig


class LabsConfig(AppConfig):
    """Registered as ``labs``."""

    name = "web.labs"
    label = "labs"
