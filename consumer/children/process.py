"""One process family of a child as the lab holds it: started, asked, listened to, ended."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from consumer.children import wire
from consumer.children.keeper import BY_SIGNAL
from consumer.sandbox.confinement import Confinement

log = structlog.get_logger(__name__)

#: The interpreter's first line. Modules are looked for where the lab looks for them; only what is
#: built in may be imported before that.
_BOOT = (
    "import sys; sys.path[:] = sys.argv.pop().split('\\n'); "
    "from consumer.children.keeper import main; main()"
)

#: Seconds in which a family that is ended must be gone; a process that the kernel cannot end, in a
#: driver, stays longer than that, and the lab goes on.
_GONE_SECONDS = 10.0

#: Bytes that are sent or taken at a time.
_PIECE = 1024**2


class Process:
    """A keeper with its child. Used by the thread that has the turn, and ended by any."""

    def __init__(
        self,
        name: str,
        how: Confinement,
        environment: Mapping[str, str],
        begin: tuple[Callable[..., Any], Callable[[], None]],
    ) -> None:
        """Start it; `begin` holds its guard and its preparation. Raises OSError."""
        #: Whether it has taken the call that it was asked.
        self.began = False
        self._asked: Callable[..., Any] | None = None
        self._came = bytearray()
        self._left = memoryview(b"")
        self._answer: tuple[bytes, bytes] | None = None
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                self._keeper = subprocess.Popen(
                    _command(name, theirs.fileno(), how),
                    env=dict(environment),
                    # What a library or a bundle writes may quote a file, and a terminal can be
                    # typed into by whoever holds it.
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    # A terminal and a supervisor signal the whole group; a job that is to end
                    # within the lab's grace must not lose its children first. (systemd signals the
                    # cgroup: KillMode=mixed there.)
                    start_new_session=True,
                )
            except BaseException:
                self._sock.close()
                raise
        guard, prepare = begin
        body, descriptors = wire.request(guard, (prepare,), {})
        wire.send_request(self._sock, descriptors, len(body))
        self._sock.sendall(body)
        self._sock.setblocking(False)

    @property
    def alive(self) -> bool:
        """Whether it may be asked."""
        return self._keeper.poll() is None

    @property
    def exit_code(self) -> int:
        """How the child ended, a signal as its negative number; 0 where it was ended."""
        code = self._keeper.returncode or 0
        return BY_SIGNAL - code if code > BY_SIGNAL else code

    def ask(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        """Begin a call. Raises OSError when the process is gone."""
        body, descriptors = wire.request(function, args, kwargs)
        self.began, self._asked = False, function
        # Small, and the process waits for it: it does not block.
        self._sock.setblocking(True)
        wire.send_request(self._sock, descriptors, len(body))
        self._sock.setblocking(False)
        self._left = memoryview(body)

    def look(self, seconds: float) -> bool:
        """Wait so long for something to happen; whether the answer is there.

        Raises EOFError when the process is gone, and `NoAnswer` when it talks nonsense.
        """
        if self._answer is not None:
            return True
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._left else 0)
        try:
            with selectors.PollSelector() as selector:
                selector.register(self._sock, events)
                ready = selector.select(seconds)
        except (OSError, ValueError):
            # Another thread has ended it.
            raise EOFError from None
        if not ready:
            # Its keeper may have been killed, and something below it still hold the socket.
            if not self.alive:
                raise EOFError
            return False
        try:
            if ready[0][1] & selectors.EVENT_READ:
                self._take()
            if self._left and ready[0][1] & selectors.EVENT_WRITE:
                self._left = self._left[self._sock.send(self._left[:_PIECE]) :]
        except BlockingIOError:
            return False
        except OSError:
            raise EOFError from None
        return self._answer is not None

    def answer(self) -> Any:
        """What the function returned, once `look` says so, or what it raised: see `wire.read`."""
        assert self._answer is not None  # noqa: S101 - `look` has said so
        assert self._asked is not None  # noqa: S101
        (kind, body), function = self._answer, self._asked
        self._answer = self._asked = None
        self.began = False
        return wire.read(kind, body, function)

    def end(self) -> None:
        """Return when the child and all that came of it are gone."""
        # The keeper hears it, and does the rest.
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        try:
            self._keeper.wait(_GONE_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("a child does not end", action="child.stuck", pid=self._keeper.pid)
            self._keeper.kill()
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(_GONE_SECONDS)

    def _take(self) -> None:
        piece = self._sock.recv(_PIECE)
        if not piece:
            raise EOFError
        self._came += piece
        while len(self._came) >= wire.ANSWER.size:
            kind, length = wire.ANSWER.unpack_from(self._came)
            if length > wire.MOST_BYTES:
                raise wire.NoAnswer("a longer answer than there can be")
            end = wire.ANSWER.size + length
            if len(self._came) < end:
                return
            body = bytes(self._came[wire.ANSWER.size : end])
            del self._came[:end]
            if kind == wire.BEGAN:
                self.began = True
            elif self._asked is None or self._answer is not None:
                raise wire.NoAnswer("an answer to nothing")
            else:
                self._answer = (kind, body)


def _command(name: str, fd: int, how: Confinement) -> tuple[str, ...]:
    # As multiprocessing starts its own: the options of this interpreter are the child's.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    flagged = (str(fd), str(os.getpid()), str(int(how.sockets)), str(int(how.landlock)))
    return (sys.executable, *flags, "-c", _BOOT, f"labrelay-{name}", *flagged, "\n".join(sys.path))
