"""Django's ASGI handler with a request's middleware and view in one thread."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class OneThreadHandler(ASGIHandler):
    """One step into a thread for each request.

    Django's own handler takes two such steps for each middleware: measured, an answer of 404 took
    8 ms instead of 3. Views of this site are synchronous; what waits for long is no view.
    """

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 - Django's name
        """Build the synchronous chain."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer in the thread that Django gives this request."""
        answer: Any = sync_to_async(self.get_response, thread_sensitive=True)
        response: HttpResponseBase = await answer(request)
        return response
