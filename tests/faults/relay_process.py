"""A second relay of a site: a process that publishes from its outbox and does nothing else."""

from __future__ import annotations

import asyncio

import django
from django.conf import settings


async def _relay() -> None:
    from web.broker.relay import Relay
    from web.database import DatabaseThread

    await Relay(settings.SITE.broker_urls, DatabaseThread("relay")).run()


if __name__ == "__main__":
    django.setup()
    asyncio.run(_relay())
