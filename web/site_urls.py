"""Labrelay's addresses, for a project to include at its root: the pages' scripts name them so."""

from __future__ import annotations

from django.urls import include, path

from web.inference.api import api

urlpatterns = [
    path("api/v1/", api.urls),
    path("", include("web.archive.urls")),
]
