"""The child's loop: a call comes, is done, and is answered; until the lab is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from consumer.children import wire


def nothing() -> None:
    """The preparation of a child that needs none."""


def plainly(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call the function: the guard of a child that has none."""
    return function(*args, **kwargs)


def serve(fd: int) -> None:
    """Answer the calls that come over the socket. The first is `begin`."""
    with socket.socket(fileno=fd) as sock:
        # What is started from here is none of the lab's business.
        os.set_inheritable(fd, False)
        guard: Callable[..., Any] = plainly
        begun = False
        while (request := wire.receive_request(sock)) is not None:
            body, descriptors = request
            try:
                function, args, kwargs = wire.call_of(body, descriptors)
                if not begun:
                    guard, begun = function, True
                    # The libraries; what does not load ends the process.
                    args[0]()
                    continue
                sock.sendall(wire.answer(wire.BEGAN))
                sock.sendall(_done(guard, function, args, kwargs))
            finally:
                for one in descriptors:
                    with suppress(OSError):
                        os.close(one)


def _done(guard: Callable[..., Any], function: Callable[..., Any], args: Any, kwargs: Any) -> bytes:
    try:
        return wire.returned(function, guard(function, *args, **kwargs))
    except Exception as error:  # noqa: BLE001 - the lab decides what it means
        return wire.raised(error)
