"""A process of the site that does nothing but follow, in small steps, until it is killed."""

from __future__ import annotations

import asyncio

import django


async def _follow() -> None:
    from web.database import DatabaseThread
    from web.follower.follow import Follower
    from web.follower.turn import Pace

    pace = Pace(turn_s=0.2, lease_s=3.0, compare_again_s=0.0)
    await Follower(DatabaseThread("lease"), DatabaseThread("follower"), pace).run()


if __name__ == "__main__":
    django.setup()
    asyncio.run(_follow())
