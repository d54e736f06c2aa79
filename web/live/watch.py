"""Heals lost hints: every few seconds the versions of what is watched are read again."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Protocol
from uuid import UUID

import structlog

from web.access.grants import Scope
from web.database import DatabaseAway, DatabaseThread
from web.live import reading
from web.live.following import Following
from web.live.inbox import Inbox

log = structlog.get_logger(__name__)

#: Seconds between looks: how late a page can be when a push was lost.
LOOK_SECONDS = 3.0

#: Looks between two checks that the readers are still logged in: half a minute.
LOOKS_A_SESSION = 10

#: Seconds between two rounds in which waiting calls are told that the site stops.
DISMISS_SECONDS = 0.2


class Watcher(Protocol):
    """Whoever is to learn that something changed."""

    inbox: Inbox


class FollowingWatcher(Watcher, Protocol):
    """An open page, which follows several requests."""

    following: Following
    #: ASGI's, with the user whose page it is.
    scope: dict[str, Any]


class WaitingWatcher(Watcher, Protocol):
    """A call that waits for the end of one request."""

    #: None as long as the request is not stored.
    request_id: UUID | None
    #: The version that was read last.
    version: int


#: The open sockets of this process, of logged-in readers.
sockets: set[FollowingWatcher] = set()

#: The calls of this process that wait for the end of their request.
calls: set[WaitingWatcher] = set()


async def watch(every: float = LOOK_SECONDS) -> None:
    """Look again and again until cancelled."""
    database = DatabaseThread("watch")
    try:
        for looks in count(1):
            await asyncio.sleep(every)
            try:
                if looks % LOOKS_A_SESSION == 0:
                    await check_sessions()
                await look(database)
                await look_for_calls(database)
            except DatabaseAway as exc:
                log.warning("watch_skipped", detail=str(exc))
            except Exception:
                log.exception("watch_failed")
    finally:
        await database.close()


async def check_sessions() -> None:
    """Let each socket see whether its reader is still logged in."""
    for socket in list(sockets):
        _notify(socket, {"type": "session.check"})


async def look(database: DatabaseThread) -> None:
    """Compare what the sockets have sent with what is stored, and give them what they missed.

    The hint goes into the socket's own inbox, so that it is handled between two other messages of
    that socket and never during one.
    """
    watched = list(sockets)
    if not watched:
        return
    for scope in {socket.following.scope for socket in watched}:
        # Most readers see the same, so this is one round or a few.
        seeing = [socket for socket in watched if socket.following.scope == scope]
        await _compare(database, scope, seeing)


async def _compare(database: DatabaseThread, scope: Scope, watched: list[FollowingWatcher]) -> None:
    followed: set[UUID] = set().union(*(s.following.request_ids for s in watched))
    stored = await database.run(reading.versions, followed, scope) if followed else {}
    listed: dict[str, int] = {}
    if any(socket.following.worklist for socket in watched):
        listed = await database.run(reading.worklist_versions, scope)
    for socket in watched:
        if missed := socket.following.missed(stored, listed):
            _notify(socket, {"type": "request.changed", "request_ids": missed})
        # A lab that fell silent sends no hint of it.
        _notify(socket, {"type": "labs.changed"})


async def look_for_calls(database: DatabaseThread) -> None:
    """The same for the calls that wait: one query for all of them."""
    waiting = {call: call.request_id for call in calls if call.request_id is not None}
    stored = await database.run(reading.versions, set(waiting.values())) if waiting else {}
    for call, request_id in waiting.items():
        if stored.get(str(request_id), 0) > call.version:
            _notify(call, {"type": "request.changed", "request_ids": [str(request_id)]})


async def dismiss_calls(every: float = DISMISS_SECONDS) -> None:
    """Let each waiting call say that the site stops; until cancelled.

    Again and again: a call that is being taken in joins those who wait a moment later.
    """
    while True:
        for call in list(calls):
            _notify(call, {"type": "site.stopping"})
        await asyncio.sleep(every)


def _notify(watcher: Watcher, hint: dict[str, object]) -> None:
    try:
        watcher.inbox.put(hint)
    except asyncio.QueueFull:
        # It is busy; the next look comes.
        log.warning("socket_busy")
