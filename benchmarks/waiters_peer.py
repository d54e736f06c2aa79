"""The peer of `benchmarks.waiters`: Django's own ASGI handler with an async view that waits.

Served by uvicorn, with the site's database and its session and user middleware and no other. The
view asks who calls, reads a request, waits until all are let go, and reads the request again.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import django
from django.conf import settings

from web import plugin
from web.configuration import database, load

SITE = load()
settings.configure(
    SITE=SITE,
    SECRET_KEY=SITE.secret_key.get_secret_value(),
    ALLOWED_HOSTS=["127.0.0.1"],
    # Connections end with their call, as Django's default is.
    DATABASES={"default": database(SITE) | {"CONN_MAX_AGE": 0}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        *plugin.APPS,
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

from web.inference.models import InferenceRequest  # noqa: E402

_let_go = asyncio.Event()
_waiting = 0


async def wait(request: HttpRequest, request_id: UUID) -> JsonResponse:
    global _waiting  # noqa: PLW0603 - a count of this process
    user = await request.auser()
    before = await InferenceRequest.objects.aget(pk=request_id)
    _waiting += 1
    await _let_go.wait()
    after = await InferenceRequest.objects.aget(pk=request_id)
    return JsonResponse({"user": user.pk, "versions": [before.version, after.version]})


async def waiting(_request: HttpRequest) -> JsonResponse:
    return JsonResponse({"waiting": _waiting})


async def let_go(_request: HttpRequest) -> JsonResponse:
    _let_go.set()
    return JsonResponse({})


urlpatterns: list[Any] = [
    path("wait/<uuid:request_id>/", wait),
    path("waiting/", waiting),
    path("let-go/", let_go),
]

application = get_asgi_application()
