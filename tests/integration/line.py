"""A TCP line to a real broker that can fall silent without being closed."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self


class Line:
    """Passes bytes on, unless it is told to keep them.

    What is kept is passed on when the line is mended: nothing is lost, as on a real line whose
    packets are sent again.
    """

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None]] = set()
        self._asks, self._answers = asyncio.Event(), asyncio.Event()
        self._asks.set()
        self._answers.set()
        self.port = 0
        #: Connections that the near side has opened, and closed or let go.
        self.opened = 0
        self.closed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Keep everything, both ways; every connection stays open."""
        self._loop.call_soon_threadsafe(self._asks.clear)
        self.hold_answers()

    def hold_answers(self) -> None:
        """Keep what the broker says."""
        self._loop.call_soon_threadsafe(self._answers.clear)

    def mend(self) -> None:
        """Pass everything on, also what was kept."""
        self._loop.call_soon_threadsafe(self._asks.set)
        self._loop.call_soon_threadsafe(self._answers.set)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        far, to_far = await asyncio.open_connection("127.0.0.1", self._broker_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(near, to_far))
                both.create_task(_pass_on(far, to_near, self._answers))
        except* ConnectionError:
            pass
        finally:
            to_near.close()
            to_far.close()
            self._tasks.discard(task)

    async def _ask(self, near: asyncio.StreamReader, to_far: asyncio.StreamWriter) -> None:
        try:
            await _pass_on(near, to_far, self._asks)
        except ConnectionError:
            self.closed += 1
            raise


async def _pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event
) -> None:
    """Until the source is closed: that is noticed also while the gate is."""
    kept: asyncio.Queue[bytes] = asyncio.Queue()

    async def write() -> None:
        while True:
            data = await kept.get()
            await gate.wait()
            target.write(data)
            await target.drain()

    async with asyncio.TaskGroup() as both:
        writing = both.create_task(write())
        while data := await source.read(65536):
            kept.put_nowait(data)
        writing.cancel()
    raise ConnectionResetError
