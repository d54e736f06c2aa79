"""Whose turn it is to read: sockets take the few threads in turn, user by user.

A user with a hundred sockets has a hundred questions; the next user's one is answered after one or
two of them and not after all.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

#: Reads at once, and thereby database connections.
READERS = 4

#: Of these for one user: the others have always one that is free or about to be.
READERS_OF_ONE = 2

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Runs synchronous functions in threads, the users one after the other."""

    def __init__(self, name: str, threads: int, of_one: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = threads
        self._of_one = of_one
        self._running: Counter[Hashable] = Counter()
        #: Who waits, in the order in which they come next.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def run(
        self, user: Hashable, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run the function for this user when it is their turn; raises what it raises."""
        await self._turn(user)
        try:
            call = partial(_fresh, partial(function, *args, **kwargs))
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        finally:
            self._done(user)

    async def _turn(self, user: Hashable) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(mine)
        self._next()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                # It was given in the same moment, and nobody uses it.
                self._done(user)
            else:
                self._forget(user, mine)
            raise

    def _next(self) -> None:
        """Give what is free to those who wait, to each user one before anybody gets a second."""
        for user in list(self._waiting):
            if not self._free:
                return
            if self._running[user] >= self._of_one:
                continue
            waiting = self._waiting.pop(user)
            turn = waiting.popleft()
            if waiting:
                # Behind the others.
                self._waiting[user] = waiting
            self._free -= 1
            self._running[user] += 1
            turn.set_result(None)

    def _done(self, user: Hashable) -> None:
        self._free += 1
        self._running[user] -= 1
        if not self._running[user]:
            del self._running[user]
        self._next()

    def _forget(self, user: Hashable, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(user, deque())
        with suppress(ValueError):
            waiting.remove(turn)
        if not waiting:
            self._waiting.pop(user, None)


def _fresh(call: Callable[[], T]) -> T:
    # A connection that broke meanwhile is noticed here, and one that breaks now is not kept.
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


#: For what sockets read.
reads = Turns("socket", READERS, READERS_OF_ONE)
