"""The site as a Django application: it carries the management commands."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """``mri-web serve`` and what else is about the whole site."""

    name = "web"
    label = "site"
