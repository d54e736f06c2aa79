"""Django's ASGI handler with a request's middleware and view in one thread that stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

#: Pages worked on at once, and thereby database connections. A view may wait for the archive,
#: so there are more than processors; what waits for minutes is no view.
THREADS = 24

#: The same for DICOMweb, where a call waits until the archive begins to answer: more than one
#: caller may have open or waiting (`web.dicomweb.slots`). An archive that is slow, or a reader
#: who asks for too much, keeps no page waiting.
VIEWER_THREADS = 32

#: Where DICOMweb is on this site.
_VIEWER_PATH = "/dicom-web/"


class OneThreadHandler(ASGIHandler):
    """One step into a thread for each request, and a database connection that is open already.

    Django's own handler starts a thread for each request, opens a connection in it, and steps in
    and out of it for each middleware: measured on SQLite, that is half of the time of a click.
    Views of this site are synchronous.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="page")
        self._of_viewer = ThreadPoolExecutor(VIEWER_THREADS, thread_name_prefix="dicomweb")

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002 - Django's name
        """Build the synchronous chain."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer in one of the threads."""
        threads = self._of_viewer if request.path.startswith(_VIEWER_PATH) else self._threads
        answer: Any = sync_to_async(self._answer, thread_sensitive=False, executor=threads)
        response: HttpResponseBase = await answer(request)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        # Django does this in its own thread, where the connection is not.
        close_old_connections()
        try:
            return self.get_response(request)
        finally:
            close_old_connections()
