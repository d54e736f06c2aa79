"""Takes away the exchanges and queues of the version before, once nothing lies in them.

With the rights of an administrator, for this once: the site's own user may delete nothing.

The broker tells anybody who asks how many messages of a queue are ready, and how many consumers it
has, and no more. A consumer may hold some that are not ready, so there must be none when the queues
go: the site, which hears them as well, is stopped by then. Not before the exchanges go: by the
bridges the labs' words come in until then, and the site works them off. What a retry queue has let
go and not yet delivered is not ready either: hence several looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelClosed, ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused

from messages import topology_before as before
from web.broker.connection import ANSWER_SECONDS, Needs, close_session, open_session
from web.broker.errors import BrokerProblem
from web.broker.loss import library, named

#: Looks at the queues once the ways in are taken away, and seconds between two of
#: them: together longer than `web.broker.inbox.HOLD_SECONDS`, after which a site hands back what
#: it could not store.
LOOKS, PAUSE_SECONDS = 5, 3.0


class NotRetired(BrokerProblem):
    """Something lies there still, somebody listens, or this user may not delete; it says which."""


async def retire(
    url: str, pools: Iterable[str], *, looks: int = LOOKS, pause: float = PAUSE_SECONDS
) -> list[str]:
    """Delete what is there of them; return the names, each with its kind, in that order.

    The exchanges go once the queues look empty; the queues go once `looks`, `pause` seconds apart,
    have all found them empty and without a consumer. Raises `NotRetired` where one does not: the
    old exchanges may be gone by then, and no queue is; the next call goes on from there. Raises
    `BrokerLost` where the broker does not answer.
    """
    queues = before.queue_names(pools)
    session = await open_session(url, "retire", Needs())
    try:
        connection = session.connection
        await _require_unused(connection, queues, 1, pause, alone=False)
        # First the ways in: then nothing comes between the second looks and the deletion.
        names = before.exchange_names()
        ways_in = [name for name in names if await _delete_exchange(connection, name)]
        held = await _require_unused(connection, queues, looks, pause)
        for name in held:
            await _delete_queue(connection, name)
    finally:
        await close_session(session)
    return [*(f"exchange {name}" for name in ways_in), *(f"queue {name}" for name in held)]


async def _require_unused(
    connection: AbstractConnection,
    queues: Iterable[str],
    looks: int,
    pause: float,
    *,
    alone: bool = True,
) -> list[str]:
    """The queues that are there: at every look empty, and if `alone` without a consumer."""
    there: list[str] = []
    for look in range(looks):
        if look:
            await asyncio.sleep(pause)
        found = {name: await _look(connection, name) for name in queues}
        seen = {name: state for name, state in found.items() if state is not None}
        if full := [f"{name} ({ready})" for name, (ready, _) in seen.items() if ready]:
            raise NotRetired(
                f"messages lie in {', '.join(full)}: let the site and the labs work them off "
                "first; what waits in a retry queue comes out by itself"
            )
        if alone and (heard := [name for name, (_, consumers) in seen.items() if consumers]):
            raise NotRetired(
                f"the old exchanges are gone; but somebody listens to {', '.join(heard)}, and may "
                "hold messages of it: stop every process of the site, which hears the old queues "
                "too, call this once more, and start the site; what labs tell meanwhile waits in "
                "the new queues"
            )
        there = list(seen)
        if not there:
            break
    return there


async def _look(connection: AbstractConnection, queue: str) -> tuple[int, int] | None:
    """How many messages are ready, and how many consumers there are; None: no such queue."""
    with library():
        channel = await connection.channel()
    try:
        with library():
            found = await channel.declare_queue(queue, passive=True, timeout=ANSWER_SECONDS)
    except BrokerProblem as exc:
        if isinstance(exc.__cause__, ChannelNotFoundEntity):
            return None
        # From RabbitMQ 4.2.7 on: to a user without a right on it.
        if isinstance(exc.__cause__, ChannelAccessRefused):
            raise NotRetired(f"this user may not see queue {queue}") from exc
        raise
    else:
        told = found.declaration_result
        return told.message_count or 0, told.consumer_count or 0
    finally:
        await channel.close()


async def _delete_exchange(connection: AbstractConnection, name: str) -> bool:
    """Whether it was there."""
    with library():
        channel = await connection.channel()
    try:
        # RabbitMQ answers the same for one that is not there.
        await channel.declare_exchange(name, passive=True, timeout=ANSWER_SECONDS)
        await channel.exchange_delete(name, timeout=ANSWER_SECONDS)
    except ChannelNotFoundEntity:
        return False
    except ChannelAccessRefused as exc:
        raise NotRetired(f"this user may not delete exchange {name}") from exc
    except ChannelClosed as exc:
        raise NotRetired(f"exchange {name} cannot be deleted ({named(exc)})") from exc
    finally:
        await channel.close()
    return True


async def _delete_queue(connection: AbstractConnection, name: str) -> None:
    with library():
        channel = await connection.channel()
    try:
        await channel.queue_delete(name, timeout=ANSWER_SECONDS)
    except ChannelAccessRefused as exc:
        raise NotRetired(f"this user may not delete queue {name}") from exc
    except ChannelClosed as exc:
        raise NotRetired(f"queue {name} cannot be deleted ({named(exc)})") from exc
    finally:
        await channel.close()
