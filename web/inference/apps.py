"""The application that owns requests."""

from __future__ import annotations

from django.apps import AppConfig


class InferenceConfig(AppConfig):
    """Registered as ``inference``."""

    name = "web.inference"
    label = "inference"
