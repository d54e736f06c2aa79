"""The link by which the fault matrix cuts a network: what it keeps back, loses and passes on."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import pytest

from tests.faults.link import Link

#: Seconds for what must come, and for what must not.
SOON, QUIET = 5.0, 0.3


class Echo:
    """Answers every byte with itself, and keeps what it was sent."""

    def __init__(self) -> None:
        echo = self
        #: By connection, in the order in which they were opened.
        self.heard: list[bytes] = []
        #: Connections whose other end has gone.
        self.ended = 0
        self._lock = threading.Lock()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                echo._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            number = len(self.heard)
            self.heard.append(b"")
        with suppress(OSError):
            while data := connection.recv(4096):
                self.heard[number] += data
                connection.sendall(data)
        with self._lock:
            self.ended += 1

    def wait(self, heard: list[bytes], ended: int = 0) -> None:
        deadline = time.monotonic() + SOON
        while (self.heard, self.ended) != (heard, ended):
            assert time.monotonic() < deadline, f"{self.heard}, {self.ended} ended"
            time.sleep(0.01)


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as it:
        yield it


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    with Link(echo.port) as it:
        yield it


@contextmanager
def connected(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port), timeout=SOON) as one:
        yield one


def answered(one: socket.socket, said: bytes) -> bool:
    one.sendall(said)
    return one.recv(4096) == said


def silent(one: socket.socket) -> bool:
    """Whether nothing comes, not even an end."""
    one.settimeout(QUIET)
    try:
        one.recv(1)
    except TimeoutError:
        return True
    finally:
        one.settimeout(SOON)
    return False


def is_reset(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def test_what_is_said_passes_in_both_directions(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        assert answered(one, b"abc")
    echo.wait([b"abc"], ended=1)


def test_what_is_held_towards_the_target_arrives_late_and_in_order(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.hold(towards_target=True)
        one.sendall(b"b")
        one.sendall(b"c")
        assert silent(one)
        assert echo.heard == [b"a"]

        link.let_go()

        echo.wait([b"abc"])
        assert not silent(one)


def test_what_is_held_towards_the_client_was_heard_by_the_target(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        link.hold(towards_target=False)
        one.sendall(b"a")
        echo.wait([b"a"])
        assert silent(one)

        link.let_go()

        assert one.recv(1) == b"a"


@pytest.mark.parametrize("dead", [True, False], ids=["of the dead", "of the living"])
def test_what_was_held_when_the_link_is_mended_never_arrives(
    link: Link, echo: Echo, dead: bool
) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.hold(towards_target=True)
        one.sendall(b"b")
        assert silent(one)
        if dead:
            one.close()

        link.mend()

        # Its end is all that the target hears.
        echo.wait([b"a"], ended=1)
        assert dead or is_reset(one)
    with connected(link) as another:
        assert answered(another, b"c")


def test_an_answer_that_was_held_when_the_link_is_mended_never_arrives(
    link: Link, echo: Echo
) -> None:
    with connected(link) as one:
        link.hold(towards_target=False)
        one.sendall(b"a")
        echo.wait([b"a"])

        link.mend()

        assert is_reset(one)


def test_a_cut_link_resets_what_is_open_and_takes_nothing_new(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.cut()
        assert is_reset(one)
        echo.wait([b"a"], ended=1)
        with connected(link) as refused:
            assert is_reset(refused)

        link.mend()

        with connected(link) as another:
            assert answered(another, b"b")
    echo.wait([b"a", b"b"], ended=2)


def test_what_was_held_when_the_link_is_cut_never_arrives(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.hold(towards_target=True)
        one.sendall(b"b")
        assert silent(one)

        link.cut()
        link.mend()

        echo.wait([b"a"], ended=1)


def test_a_frozen_link_is_silent_and_its_connections_end_when_it_is_mended(
    link: Link, echo: Echo
) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.freeze()
        one.sendall(b"b")
        with connected(link) as waiting:
            waiting.sendall(b"c")
            assert silent(one)
            assert silent(waiting)
            assert (echo.heard, echo.ended) == ([b"a"], 0)

            link.mend()

            assert is_reset(one)
            assert is_reset(waiting)
    # Neither of what was said in the silence.
    echo.wait([b"a"], ended=1)


def test_a_link_that_was_not_disturbed_goes_on_when_it_is_mended(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.mend()
        assert answered(one, b"b")


def test_what_is_stranded_stays_silent_for_good_and_what_comes_after_passes(
    link: Link, echo: Echo
) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.freeze()
        link.strand()
        one.sendall(b"b")
        with connected(link) as another:
            assert answered(another, b"c")
        link.mend()
        assert silent(one)
    echo.wait([b"a", b"c"], ended=1)


def test_a_slow_link_takes_its_time_towards_the_client(link: Link, echo: Echo) -> None:
    with connected(link) as one:
        assert answered(one, b"a")
        link.slow(1000)
        began = time.monotonic()
        one.sendall(bytes(500))
        received = 0
        while received < 500:
            received += len(one.recv(4096))
        assert time.monotonic() - began > 0.35
