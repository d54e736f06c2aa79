"""The site as an ASGI application: pages and API, sockets, and the tasks beside them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - as Django wants

import django
import structlog
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack  # type: ignore[import-untyped]
from channels.routing import ProtocolTypeRouter, URLRouter  # type: ignore[import-untyped]
from channels.security.websocket import AllowedHostsOriginValidator  # type: ignore[import-untyped]
from django.conf import settings

# First: the imports below need it.
django.setup(set_prefix=False)

from web.broker.tasks import BrokerTasks  # noqa: E402
from web.database import why_not_migrated  # noqa: E402
from web.handler import OneThreadHandler  # noqa: E402
from web.live.routing import websocket_urlpatterns  # noqa: E402
from web.live.watch import watch  # noqa: E402

log = structlog.get_logger(__name__)


async def lifespan(_scope: Any, receive: Any, send: Any) -> None:
    """Start the tasks with the server and end them with it."""
    await receive()
    # `mri-web serve` asks both too, for its one sentence; another server only here.
    if problem := settings.SITE.why_not_serve() or await sync_to_async(why_not_migrated)():
        await send({"type": "lifespan.startup.failed", "message": problem})
        return
    watching = asyncio.create_task(watch(), name="watch")
    tasks = BrokerTasks(settings.SITE.broker_urls)
    if settings.SITE.run_broker_tasks:
        tasks.start()
    log.info("site_started", broker_tasks=settings.SITE.run_broker_tasks)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    watching.cancel()
    await asyncio.gather(watching, tasks.stop(), return_exceptions=True)
    log.info("site_stopped")
    await send({"type": "lifespan.shutdown.complete"})


application = ProtocolTypeRouter(
    {
        "http": OneThreadHandler(),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
        "lifespan": lifespan,
    }
)
