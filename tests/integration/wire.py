"""A TCP relay before a real broker that can hold a lab's acks back."""

from __future__ import annotations

import asyncio
import struct
import threading
from types import TracebackType
from typing import Self

#: Bytes before an AMQP 0-9-1 frame's payload: type, channel, size. One byte ends the frame.
_HEADER = 7

#: Method frames of class basic (60): consume (20), ack (80).
_CONSUME = (1, struct.pack(">HH", 60, 20))
_ACK = (1, struct.pack(">HH", 60, 80))

#: Queues of work. What a lab hears of cancels it acknowledges too, on another channel.
_WORK = b"mri.requests."


class AckHold:
    """Passes everything between labs and broker on, except acks of requests.

    The broker's own acks (publisher confirms) go the other way and are never held.
    """

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self.acks_held = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._relay, "127.0.0.1", 0), self._loop
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

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, lab: asyncio.StreamReader, to_lab: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        broker, to_broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(broker, to_lab))
                both.create_task(self._copy_frames(lab, to_broker))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            to_lab.close()
            to_broker.close()
            self._tasks.discard(task)

    async def _copy_frames(
        self, lab: asyncio.StreamReader, to_broker: asyncio.StreamWriter
    ) -> None:
        # The protocol header comes before the first frame: "AMQP" and four bytes.
        to_broker.write(await lab.readexactly(8))
        work: set[int] = set()
        while True:
            head = await lab.readexactly(_HEADER)
            kind, channel, size = struct.unpack(">BHI", head)
            rest = await lab.readexactly(size + 1)
            # Behind class, method, a reserved number and the length of the queue's name.
            if (kind, rest[:4]) == _CONSUME and rest[7:].startswith(_WORK):
                work.add(channel)
            if (kind, rest[:4]) == _ACK and channel in work:
                self.acks_held.set()
                continue
            to_broker.write(head + rest)
            await to_broker.drain()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    raise ConnectionResetError
