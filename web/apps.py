"""The site as a Django application: it carries the management commands."""

from __future__ import annotations

import structlog
from django.apps import AppConfig
from django.core import checks

from web import logs


class SiteConfig(AppConfig):
    """``mri-web serve`` and what else is about the whole site."""

    name = "web"
    label = "labrelay"

    def ready(self) -> None:
        """Look for what a host project forgot; send our log lines where its own go."""
        from web import host_checks

        for check in host_checks.ALL:
            checks.register(check)
        if not structlog.is_configured():
            logs.into_logging()
