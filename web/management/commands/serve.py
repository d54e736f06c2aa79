"""``mri-web serve``: the site on loopback, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from web.broker import tasks
from web.broker.connection import why_not
from web.database import why_not_migrated
from web.single import why_not_single

#: Seconds that open answers and sockets get at the end.
GOODBYE_SECONDS = 5


class Command(BaseCommand):
    """One process: pages, API, sockets, and the tasks that speak with the broker."""

    help = "Serve the site on 127.0.0.1:WEB_PORT."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Check, then serve."""
        site = settings.SITE
        problem = site.why_not_serve()
        if problem is None:
            problem = why_not_migrated() or why_not_single()
        if problem is None:
            problem = asyncio.run(why_not(site.broker_urls, tasks.NEEDS))
        if problem is not None:
            raise CommandError(f"the site cannot start: {problem}")
        # Static files are small, and read whole before they are sent.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous")
        module, _, name = settings.ASGI_APPLICATION.rpartition(".")
        uvicorn.run(
            f"{module}:{name}",
            host="127.0.0.1",
            port=site.web_port,
            lifespan="on",
            log_config=None,
            # An address may hold what a reader searched for.
            access_log=False,
            server_header=False,
            # A proxy on the same machine tells the reader's address and the scheme.
            proxy_headers=True,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
            ws_max_size=64 * 1024,
        )
