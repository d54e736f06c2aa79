"""Connections that come back: connect, check what must be there, work, pause, again.

Plain `aio_pika.connect`: `connect_robust` declares anew what it knew, and the site may declare
nothing. A task that works on a session ends with it and is started anew on the next one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelClosed
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity
from yarl import URL

from messages.brokers import why_unusable
from messages.repair import IMPORT_SENTENCE
from web.broker.errors import BrokerLost, BrokerProblem, TopologyMissing
from web.broker.loss import is_loss, library, named
from web.broker.transport import connection_to, version_of
from web.cancellation import CHILD_SECONDS, end, heed_cancel

log = structlog.get_logger(__name__)

#: Seconds for connecting, and for each question that must be answered at once.
ANSWER_SECONDS = 10.0

#: Seconds between attempts: doubled from the first to the second, and drawn at random below it,
#: so that the processes of a site do not come back together.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0

#: What the broker says of a queue that lies on a node of its cluster that is away.
_AWAY = "is down or inaccessible"


@dataclass(frozen=True)
class Needs:
    """What must exist before a task can work."""

    exchanges: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


@dataclass
class Session:
    """One connection, from its start to the first sign of its end."""

    connection: AbstractConnection
    #: The AMQP user; the broker checks that messages name it.
    user: str
    _lost: asyncio.Event = field(default_factory=asyncio.Event)
    _why: str = ""

    async def channel(
        self, *, prefetch: int | None = None, ended: Callable[..., None] | None = None
    ) -> AbstractChannel:
        """Open a channel with publisher confirms.

        Its end is the end of the session, unless `ended` is to be told of it.
        """
        ended = ended or self._ended
        with library():
            channel = await self.connection.channel(publisher_confirms=True, on_return_raises=True)
            channel.close_callbacks.add(ended)
            underlay = await channel.get_underlay_channel()
            # The broker ends a consumer when its queue is deleted or has no leader.
            underlay.on_consumer_cancel_callbacks.add(ended)
            if prefetch is not None:
                await channel.set_qos(prefetch_count=prefetch, timeout=ANSWER_SECONDS)
        return channel

    async def consume(
        self,
        queue: str,
        callback: Callable[[AbstractIncomingMessage], Awaitable[None]],
        *,
        prefetch: int,
        ended: Callable[..., None],
    ) -> tuple[AbstractChannel, int]:
        """Consume on a channel of its own, of whose end `ended` is told.

        Returns the channel, and how many messages lay in the queue already. Raises
        `TopologyMissing` where the queue is not there, and `BrokerLost`.
        """
        channel = await self.channel(prefetch=prefetch, ended=ended)
        try:
            source = await channel.declare_queue(queue, passive=True, timeout=ANSWER_SECONDS)
            await source.consume(callback, timeout=ANSWER_SECONDS)
        except (ChannelNotFoundEntity, ChannelAccessRefused) as exc:
            if _AWAY in str(exc):
                raise BrokerLost(f"the node of queue {queue} is away") from exc
            raise TopologyMissing(f"queue {queue} is missing: {IMPORT_SENTENCE}") from exc
        except (*CONNECTION_EXCEPTIONS, TimeoutError) as exc:
            raise BrokerLost(named(exc)) from exc
        return channel, source.declaration_result.message_count or 0

    async def run(self, *work: Coroutine[Any, Any, None]) -> None:
        """Do the work until the connection ends; raises `BrokerLost` then."""
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(one) for one in work]
        tasks.append(asyncio.ensure_future(self._lost.wait()))
        try:
            heed_cancel()
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks, time_budget=CHILD_SECONDS)
        raise BrokerLost(f"the connection ended {self._why}".rstrip())

    def watch(self) -> None:
        """Notice the end of the connection itself."""
        self.connection.close_callbacks.add(self._ended)

    def _ended(self, *said: object) -> None:
        # The first reason is the cause; what ends after it ends because of it.
        if not self._lost.is_set():
            self._why = next((named(one) for one in said if isinstance(one, BaseException)), "")
        self._lost.set()


async def open_session(url: str, name: str, needs: Needs) -> Session:
    """Connect and check. Raises `BrokerLost` or `TopologyMissing`."""
    connection = connection_to(url, name)
    session = Session(connection, URL(url).user or "")
    connecting = asyncio.ensure_future(connection.connect(timeout=ANSWER_SECONDS))
    try:
        await asyncio.shield(connecting)
    except (*CONNECTION_EXCEPTIONS, TimeoutError) as exc:
        # `aio_pika.connect` would leave this to the garbage collector, which cannot await.
        await close_session(session)
        raise BrokerLost(f"{_address(url)} does not answer: {named(exc)}") from exc
    except asyncio.CancelledError:
        # Broken off within the handshake the library may wait for ever; a handshake takes
        # milliseconds, so its end is waited for, and then closed as any other connection.
        await asyncio.wait([connecting])
        await close_session(session)
        raise
    session.watch()
    try:
        heed_cancel()
        _check_version(connection)
        for exchange in needs.exchanges:
            await _check(session, "exchange", exchange)
        for queue in needs.queues:
            await _check(session, "queue", queue)
    except BaseException:
        await close_session(session)
        raise
    return session


async def close_session(session: Session) -> None:
    """Close the connection; unsettled deliveries go back to their queues."""
    try:
        await asyncio.wait_for(session.connection.close(), timeout=ANSWER_SECONDS)
    except (*CONNECTION_EXCEPTIONS, TimeoutError):
        # It was gone already: the broker puts the deliveries back all the same.
        log.debug("broker_close_failed")
    finally:
        if not session.connection.is_closed:
            # It was broken off, and has given its transport away by then: once more, and it only
            # notes that it is closed. Otherwise its finalizer would begin a task, whenever that
            # comes.
            with suppress(*CONNECTION_EXCEPTIONS, TimeoutError):
                await asyncio.wait_for(session.connection.close(), timeout=CHILD_SECONDS)


async def supervise(
    name: str, urls: Sequence[str], needs: Needs, work: Callable[[Session], Awaitable[None]]
) -> None:
    """Keep `work` going on a connection, for ever; the brokers are tried in turn."""
    failures = 0
    for url in cycle(urls):
        started = time.monotonic()
        try:
            session = await open_session(url, name, needs)
            log.info("broker_connected", task=name, broker=_address(url))
            try:
                await work(session)
            finally:
                await close_session(session)
        except BrokerProblem as exc:
            log.warning("broker_lost", task=name, broker=_address(url), detail=str(exc))
        except Exception as exc:
            if is_loss(exc):
                log.warning("broker_lost", task=name, broker=_address(url), detail=named(exc))
            else:
                # A fault of ours must not cut the site off for ever: said loudly, tried again.
                log.exception("broker_task_failed", task=name)
        # A connection that lasted was no failure in a row.
        failures = 1 if time.monotonic() - started > LONGEST_PAUSE else failures + 1
        await asyncio.sleep(pause(failures))


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
    return random.uniform(FIRST_PAUSE, max(FIRST_PAUSE, longest))  # noqa: S311 - no secret


async def why_not(urls: Sequence[str], needs: Needs) -> str | None:
    """Ask the first broker that answers; the sentence that says what it lacks, or None.

    None as well when none answers: the site starts without, and keeps requests until one does.
    """
    for url in urls:
        try:
            session = await open_session(url, "check", needs)
        except TopologyMissing as exc:
            return str(exc)
        except BrokerProblem:
            continue
        await close_session(session)
        return None
    return None


def _check_version(connection: AbstractConnection) -> None:
    if unusable := why_unusable(version_of(connection)):
        raise TopologyMissing(unusable)


async def _check(session: Session, kind: str, name: str) -> None:
    """A passive declare; the broker closes the channel when it refuses, so each has its own."""
    channel = await session.connection.channel()
    try:
        if kind == "queue":
            await channel.declare_queue(name, passive=True, timeout=ANSWER_SECONDS)
        else:
            await channel.declare_exchange(name, passive=True, timeout=ANSWER_SECONDS)
    except ChannelAccessRefused as exc:
        # From 4.2.7 and 4.3.1 on the same answer for what is there and what is not.
        raise TopologyMissing(
            f"{kind} {name} is missing, or {session.user} has no right on it: compare its "
            f"permissions with infra/rabbitmq/README.md, or {IMPORT_SENTENCE}"
        ) from exc
    except ChannelClosed as exc:
        if _AWAY in str(exc):
            raise BrokerLost(f"the node of {kind} {name} is away") from exc
        raise TopologyMissing(f"{kind} {name} is missing: {IMPORT_SENTENCE}") from exc
    except (*CONNECTION_EXCEPTIONS, TimeoutError) as exc:
        raise BrokerLost(named(exc)) from exc
    await channel.close()


def _address(url: str) -> str:
    parts = URL(url)
    return f"{parts.host}:{parts.port or 5672}"
