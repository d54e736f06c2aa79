"""A second process of the site: the broker's tasks with an impatient reconciler, until killed."""

from __future__ import annotations

import asyncio

import django
from django.conf import settings


async def _serve() -> None:
    from tests.integration.reconciler_bench import QUICK
    from web.broker.tasks import BrokerTasks

    BrokerTasks(settings.SITE.broker_urls, QUICK).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    django.setup()
    asyncio.run(_serve())
