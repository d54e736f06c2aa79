"""Takes away the exchanges and queues of the version before, once nothing lies in them.

With the rights of an administrator, for this once: the site's own user may delete nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelClosed, ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused

from messages import topology_before as before
from web.broker.connection import ANSWER_SECONDS, Needs, close_session, open_session
from web.broker.errors import BrokerProblem
from web.broker.loss import library, named


class NotRetired(BrokerProblem):
    """Something lies there still, or this user may not delete; the sentence says which."""


async def retire(url: str, pools: Iterable[str]) -> list[str]:
    """Delete what is there of them; return the names, each with its kind, in that order.

    Raises `NotRetired` before anything is deleted where a queue holds messages, and `BrokerLost`
    where the broker does not answer.
    """
    queues = before.queue_names(pools)
    session = await open_session(url, "retire", Needs())
    try:
        connection = session.connection
        await _require_empty(connection, queues)
        # First the ways in: then nothing comes between the second look and the deletion.
        names = before.exchange_names()
        ways_in = [name for name in names if await _delete_exchange(connection, name)]
        held = await _require_empty(connection, queues)
        for name in held:
            await _delete_queue(connection, name)
    finally:
        await close_session(session)
    return [*(f"exchange {name}" for name in ways_in), *(f"queue {name}" for name in held)]


async def _require_empty(connection: AbstractConnection, queues: Iterable[str]) -> list[str]:
    """The queues that are there, all of them empty."""
    found = {name: await _messages(connection, name) for name in queues}
    full = [f"{name} ({count})" for name, count in found.items() if count]
    if full:
        raise NotRetired(
            f"messages lie in {', '.join(full)}: let the site and the labs work them off first; "
            "what waits in a retry queue comes out by itself"
        )
    return [name for name, count in found.items() if count is not None]


async def _messages(connection: AbstractConnection, queue: str) -> int | None:
    """How many lie there; None when there is no such queue."""
    with library():
        channel = await connection.channel()
    try:
        with library():
            found = await channel.declare_queue(queue, passive=True, timeout=ANSWER_SECONDS)
    except BrokerProblem as exc:
        if isinstance(exc.__cause__, ChannelNotFoundEntity):
            return None
        raise
    else:
        return found.declaration_result.message_count or 0
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
