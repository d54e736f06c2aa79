"""Labrelay around a project's own HTTP application: its sockets, waiting calls and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack  # type: ignore[import-untyped]
from channels.routing import ProtocolTypeRouter, URLRouter  # type: ignore[import-untyped]
from django.conf import settings
from django.urls import re_path

from web import database_file, systemd
from web.access.origin import own_pages_only
from web.bodies import bounded
from web.broker.tasks import BrokerTasks
from web.database import why_not_migrated
from web.legacy.routing import waiting_urlpatterns
from web.live.refusing import come_again_without_database
from web.live.routing import no_such_socket, websocket_urlpatterns
from web.live.watch import watch
from web.single import OnlyOne

log = structlog.get_logger(__name__)

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


async def lifespan(_scope: Any, receive: Any, send: Any) -> None:
    """Start the tasks with the server and end them with it."""
    await receive()
    # `mri-web serve` asks both too, for its one sentence; another server only here.
    only = OnlyOne()
    problem = settings.SITE.why_not_serve() or await sync_to_async(why_not_migrated)()
    if problem := problem or only.take():
        await send({"type": "lifespan.startup.failed", "message": problem})
        return
    await sync_to_async(database_file.keep)()
    watching = asyncio.create_task(watch(), name="watch")
    keeping = asyncio.create_task(database_file.watch(), name="database file")
    telling = asyncio.create_task(systemd.watchdog(), name="systemd")
    tasks = BrokerTasks(settings.SITE.broker_urls)
    tasks.start()
    log.info("site_started")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    for task in (watching, keeping, telling):
        task.cancel()
    await asyncio.gather(watching, keeping, telling, tasks.stop(), return_exceptions=True)
    database_file.let_go()
    only.release()
    log.info("site_stopped")
    await send({"type": "lifespan.shutdown.complete"})


def labrelay(http: Asgi) -> ProtocolTypeRouter:
    """The whole site as one ASGI application; `http` answers what is no call that waits."""
    sockets = URLRouter([*websocket_urlpatterns, re_path("", cast("Any", no_such_socket))])
    return ProtocolTypeRouter(
        {
            # Django's own path() takes views only; Channels' router calls applications by it.
            "http": URLRouter([*waiting_urlpatterns, re_path("", cast("Any", bounded(http)))]),
            "websocket": own_pages_only(come_again_without_database(AuthMiddlewareStack(sockets))),
            "lifespan": lifespan,
        }
    )
