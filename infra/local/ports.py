"""TCP ports: free ones for tests, and a plain sentence when a wanted one is taken."""

from __future__ import annotations

import random
import socket

#: Tests take ports below Linux's ephemeral range (32768 and up): one from that range could be
#: given to somebody's outgoing connection between our look and the node's start.
TEST_PORTS = range(20000, 32000)


class PortTaken(Exception):
    """A port that a service needs is in use; the text names the variable that moves it."""


def free_ports(count: int) -> list[int]:
    """Return `count` different ports on which nothing listens now."""
    found: list[int] = []
    for port in random.sample(TEST_PORTS, len(TEST_PORTS)):
        if len(found) == count:
            break
        if _refusal(port) is None:
            found.append(port)
    return found


def require_free(port: int, variable: str) -> None:
    """Raise `PortTaken` unless a service can listen on `port`; `variable` is its setting."""
    refusal = _refusal(port)
    if isinstance(refusal, PermissionError):
        raise PortTaken(f"port {port} needs root; set {variable} to one above 1023") from refusal
    if refusal is not None:
        raise PortTaken(
            f"port {port} is taken by another program; set {variable} to a free one"
        ) from refusal


def _refusal(port: int) -> OSError | None:
    """Return why nobody can listen on `port`, on any address: Orthanc 1.10 binds them all."""
    with socket.socket() as probe:
        # As servers do: connections of a service that has just ended do not hold its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError as error:
            return error
    return None
