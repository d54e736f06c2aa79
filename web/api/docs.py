"""The page on which the API can be read and tried, for whoever is logged in."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase


class DocsPage(DocsBase):
    """Swagger UI from ninja's own files: no script stands in the page, none comes from outside."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        """The page, or the way to the log-in."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        settings = {
            "url": self.get_openapi_url(api, kwargs),
            "layout": "BaseLayout",
            "deepLinking": True,
            # It would ask a server on the internet for a picture.
            "validatorUrl": None,
        }
        context = {"title": api.title, "settings": json.dumps(settings)}
        return render(request, "labrelay/api_docs.html", context)
