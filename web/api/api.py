"""The API, put together: one router for each noun."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI

from web.api import (
    cancels,
    labs,
    models,
    phases,
    reports,
    requests,
    results,
    retries,
    studies,
    verdicts,
    withdrawals,
)
from web.api.auth import Bearer, Session
from web.api.docs import DocsPage
from web.api.errors import add_handlers

_DESCRIPTION = """\
Ask for an analysis and read what became of it. Programs present a bearer token, pages the cookie of
the log-in. Every error has one form, `ErrorAnswer`. What the caller may not see is not there: 404,
and lists leave it out. Changes are told over the socket (docs/asyncapi.json), not by asking again.
"""

_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}

#: As Python said until 3.12; 3.13 has other words, and the document must not change with the Python
#: that serves it.
_PHRASES = {
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
}

#: Answers name patients, and a host project need not have a middleware that says it.
_CACHE_CONTROL = "private, no-store"


class DescribedApi(NinjaAPI):
    """Ninja's API, which no cache keeps, and whose description tells the header of a 429."""

    def create_response(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """An answer of an operation."""
        response = super().create_response(*args, **kwargs)
        response.headers["Cache-Control"] = _CACHE_CONTROL
        return response

    def on_exception(self, request: HttpRequest, exc: Any) -> HttpResponse:
        """An error."""
        response = super().on_exception(request, exc)
        response.headers["Cache-Control"] = _CACHE_CONTROL
        return response

    def get_openapi_schema(self, **options: Any) -> Any:
        """The OpenAPI document."""
        document = super().get_openapi_schema(**options)
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"][429]["headers"] = _RETRY_AFTER
                for status, phrase in _PHRASES.items():
                    if status in operation["responses"]:
                        operation["responses"][status]["description"] = phrase
        return document


# The description is in the repository: reading it needs no log-in. Its page does.
api = DescribedApi(
    title="Labrelay",
    version="1",
    description=_DESCRIPTION,
    auth=[Bearer(), Session()],
    urls_namespace="labrelay_api",
    docs=DocsPage(),
    docs_url="/docs",
    openapi_url="/openapi.json",
)
add_handlers(api)
api.add_router("/studies", studies.router, tags=["studies"])
api.add_router("/studies", phases.router, tags=["phases"])
api.add_router("/models", models.router, tags=["models"])
api.add_router("/labs", labs.router, tags=["labs"])
api.add_router("/requests", requests.router, tags=["requests"])
api.add_router("/requests", cancels.router, tags=["requests"])
api.add_router("/requests", retries.router, tags=["requests"])
api.add_router("/requests", results.router, tags=["results"])
api.add_router("/requests", reports.router, tags=["results"])
api.add_router("/requests", verdicts.router, tags=["verdicts"])
api.add_router("/requests", withdrawals.router, tags=["results"])


def rendered() -> str:
    """The text of ``docs/openapi.json``."""
    return json.dumps(api.get_openapi_schema(), indent=2, ensure_ascii=False) + "\n"
