"""The addresses of programs, for a project to include at its root: they are fixed."""

from __future__ import annotations

from django.urls import include, path

from web.api.api import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("", include("web.legacy.urls")),
]
