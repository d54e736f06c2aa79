"""A call to the archive that is kept waiting on its way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from enum import Enum, auto
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler


class Moment(Enum):
    """Where a held call stands."""

    #: Before the archive hears of it.
    BEFORE = auto()
    #: The archive has half of its body.
    HALFWAY = auto()
    #: The archive did it and has answered, and the caller does not know.
    AFTER = auto()


class Hold:
    """One call that is kept waiting."""

    def __init__(self, where: Callable[[str, str], bool], moment: Moment, skip: int) -> None:
        self.where = where
        self.moment = moment
        #: So many calls of that kind pass before it.
        self.skip = skip
        self.reached, self.over = threading.Event(), threading.Event()

    def stay(self, moment: Moment) -> None:
        """Wait here until it is over, if this is the moment."""
        if moment is self.moment:
            self.reached.set()
            self.over.wait()


def send_in_two(
    connection: HTTPConnection,
    call: BaseHTTPRequestHandler,
    body: bytes,
    headers: dict[str, str],
    hold: Hold,
) -> None:
    """Half of the body, and after the hold the rest: unless the caller has gone meanwhile."""
    connection.putrequest(call.command, call.path, skip_accept_encoding=True)
    for key, value in headers.items():
        connection.putheader(key, value)
    connection.endheaders(body[: len(body) // 2])
    hold.stay(Moment.HALFWAY)
    if _gone(call):
        raise ConnectionResetError
    connection.send(body[len(body) // 2 :])


def _gone(call: BaseHTTPRequestHandler) -> bool:
    try:
        return not call.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
