"""The old name of `web.pages.urls`, for one more version."""

from __future__ import annotations

from web.pages.urls import app_name, urlpatterns

__all__ = ["app_name", "urlpatterns"]
