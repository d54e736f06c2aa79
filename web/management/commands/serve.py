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

#: Seconds that open answers and sockets get at the end.
GOODBYE_SECONDS = 5


class Command(BaseCommand):
    """One process: pages, API, sockets, and the tasks that speak with the broker."""

    help = "Serve the site on 127.0.0.1:WEB_PORT."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Check, then serve."""
        site = settings.SITE
        problem = site.why_not_serve()
        if problem is None and not site.run_broker_tasks:
            # Processes that share a site need a shared channel layer, which this one has not.
            problem = "RUN_BROKER_TASKS is false: then nothing would send the requests"
        if problem is None:
            problem = why_not_migrated()
        if problem is None:
            problem = asyncio.run(why_not(site.broker_urls, tasks.NEEDS))
        if problem is not None:
            raise CommandError(f"the site cannot start: {problem}")
        # Static files are small, and read whole before they are sent.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous")
        uvicorn.run(
            "web.asgi:application",
            host="127.0.0.1",
            port=site.web_port,
            lifespan="on",
            log_config=None,
            # An address may hold what a reader searched for.
            access_log=False,
            # A proxy on the same machine tells the reader's address and the scheme.
            proxy_headers=True,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
            ws_max_size=64 * 1024,
        )
