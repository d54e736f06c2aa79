"""A TCP link between two of our processes that a fault can cut, freeze or slow down."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType
from typing import Self

#: Bytes passed on at once.
_CHUNK = 64 * 1024

#: SO_LINGER with zero seconds: closing sends RST, as a machine that lost its state does.
_RESET = struct.pack("ii", 1, 0)


class _Mode(Enum):
    OPEN = auto()
    CUT = auto()
    FROZEN = auto()


class Link:
    """Listens on a free port of loopback and passes everything on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self._mode = _Mode.OPEN
        self._bytes_a_second: float | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._open: asyncio.Event
        #: Towards the target and towards the client: whether that way passes anything on.
        self._ways: dict[bool, asyncio.Event]
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection and take no new one until `mend`."""
        self._call(self._set(_Mode.CUT))

    def freeze(self) -> None:
        """Pass nothing on and close nothing: both ends see only silence (half-open TCP)."""
        self._call(self._set(_Mode.FROZEN))

    def hold(self, *, towards_target: bool) -> None:
        """Keep back what goes that way until `let_go`; the other way stays open."""
        self._call(self._set_way(towards_target, passes=False))

    def let_go(self) -> None:
        """Pass on what was kept back, late and in order."""
        for towards_target in (True, False):
            self._call(self._set_way(towards_target, passes=True))

    def strand(self) -> None:
        """Leave what is open in silence for good, and pass on what is opened from now on.

        So it is for a machine that slept: whatever stood between has forgotten its connections.
        """
        self._call(self._strand())

    def slow(self, bytes_a_second: float | None) -> None:
        """Pass on so many bytes a second towards the client; None: as fast as they come."""
        self._bytes_a_second = bytes_a_second

    def mend(self) -> None:
        """Pass on what is opened from now on.

        What was frozen or kept back on its way is lost, and its connections end: the silence was
        a cut cable's. `let_go` first, where it shall arrive late.
        """
        self._bytes_a_second = None
        self._call(self._mend())

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        self._open = _set_event()
        self._ways = {True: _set_event(), False: _set_event()}
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        # Python 3.11 takes a relay that is cancelled for one that broke, and says so at length.
        self._loop.set_exception_handler(lambda *_: None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set(self, mode: _Mode) -> None:
        self._mode = mode
        if mode is _Mode.FROZEN:
            self._open.clear()
            return
        self._reset_all()
        self._open.set()

    async def _mend(self) -> None:
        if self._mode is _Mode.FROZEN or not all(way.is_set() for way in self._ways.values()):
            # Before anything may pass: whoever sent it may have died since, and a word of the dead
            # would be the other side's first.
            self._reset_all()
        self._mode = _Mode.OPEN
        for way in self._ways.values():
            way.set()
        self._open.set()

    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _set_way(self, towards_target: bool, *, passes: bool) -> None:
        way = self._ways[towards_target]
        if passes:
            way.set()
        else:
            way.clear()

    async def _strand(self) -> None:
        # Those that are open keep the event that nobody sets any more.
        self._open.clear()
        self._open = _set_event()
        self._mode = _Mode.OPEN
        self._writers.clear()

    async def _relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [to_client]
        self._writers.add(to_client)
        gate = self._open
        try:
            # A frozen network answers no connect of the client's protocol either.
            await gate.wait()
            if self._mode is _Mode.CUT or to_client.is_closing():
                return
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
            writers.append(to_server)
            self._writers.add(to_server)
            if to_client.is_closing():
                # Reset meanwhile: what it has said lies here still, and must not pass.
                return
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(client, to_server, gate, paced=False))
                both.create_task(self._copy(server, to_client, gate, paced=True))
        except* OSError:
            pass
        finally:
            for writer in writers:
                self._writers.discard(writer)
                writer.close()
            self._tasks.discard(task)

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        gate: asyncio.Event,
        *,
        paced: bool,
    ) -> None:
        way = self._ways[not paced]
        while data := await source.read(_CHUNK):
            await gate.wait()
            await way.wait()
            rate = self._bytes_a_second if paced else None
            if rate is None:
                target.write(data)
                await target.drain()
                continue
            step = max(1, int(rate / 10))
            for start in range(0, len(data), step):
                target.write(data[start : start + step])
                await target.drain()
                if self._bytes_a_second is not None:
                    await asyncio.sleep(0.1)
        raise ConnectionResetError


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        # Closed already: its relay has not heard of it yet.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
