"""``mri-web serve``: the site on loopback, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import warnings
from contextlib import suppress
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from web import connections
from web.broker import tasks
from web.broker.connection import why_not
from web.database import why_not_migrated
from web.live.watch import dismiss_calls
from web.single import why_not_single

#: Seconds that open answers and sockets get at the end.
GOODBYE_SECONDS = 5

#: Exit status of a server that could not start; it has said why in the log.
NOT_STARTED = 3


class Server(uvicorn.Server):
    """Stops in this order: no new connections, sockets closed with 1012, calls that wait answered.

    Then, in the lifespan of `web.application`, the tasks: what was taken in until now is published
    as long as the relay runs, and by the next process otherwise.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; those who wait for a result are told at once, and not cut off at the end."""
        dismissing = asyncio.create_task(dismiss_calls())
        try:
            await super().shutdown(sockets)
        finally:
            dismissing.cancel()


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
            problem = asyncio.run(why_not(site.broker_urls, tasks.needs(site.pool)))
        if problem is not None:
            raise CommandError(f"the site cannot start: {problem}")
        # Static files are small, and read whole before they are sent.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous")
        module, _, name = settings.ASGI_APPLICATION.rpartition(".")
        config = uvicorn.Config(
            f"{module}:{name}",
            host="127.0.0.1",
            port=site.web_port,
            lifespan="on",
            http=connections.Connection,
            log_config=None,
            # An address may hold what a reader searched for.
            access_log=False,
            server_header=False,
            # A proxy on the same machine tells the reader's address and the scheme.
            proxy_headers=True,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
            ws_max_size=64 * 1024,
        )
        connections.many_files()
        # uvicorn raises the signal once more when it has stopped: a stop as told is no failure.
        signal.signal(signal.SIGTERM, _leave)
        server = Server(config)
        with suppress(KeyboardInterrupt):
            server.run()
        if not server.started:
            sys.exit(NOT_STARTED)


def _leave(*_: object) -> None:
    sys.exit(0)
