"""All of Labrelay's addresses, for a project to include at its root.

One that has a page of its own at ``/`` includes `web.api_urls` there, and `web.pages.urls` and
`web.viewer.urls` below a prefix.
"""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("", include("web.api_urls")),
    path("", include("web.pages.urls")),
    path("", include("web.viewer.urls")),
]
