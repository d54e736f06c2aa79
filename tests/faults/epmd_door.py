"""A door before Erlang's port mapper: sends those who ask for a node to a link instead.

Each node of a cluster asks a door of its own. So every connection between two nodes, whoever opens
it, goes over a link that a row can cut, while rabbitmqctl is found as ever.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

#: EPMD protocol (Erlang/OTP, "Distribution Protocol"): a question for a node's port, its answer,
#: and a question for all names.
_PORT_PLEASE, _PORT, _NAMES = 122, 119, 110

#: The answer up to its port: code, result (0: there is such a node), port.
_ANSWER = struct.Struct(">BBH")

#: What the names begin with: the port mapper's own port, which is compared with the one asked.
_OWN = struct.Struct(">I")


class EpmdDoor:
    """Passes everything on to the port mapper; the ports of some nodes are answered otherwise."""

    def __init__(self, mapper_port: int, elsewhere: Mapping[str, int]) -> None:
        """`elsewhere`: port by the short name of a node; read at each question."""
        door = self
        self._mapper_port = mapper_port
        self._elsewhere = elsewhere

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                door._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            # A node is registered for as long as its connection stays open.
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="epmd door", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, client: socket.socket) -> None:
        asked = _request(client)
        if not asked:
            return
        try:
            mapper = socket.create_connection(("127.0.0.1", self._mapper_port))
        except OSError:
            return
        with mapper:
            mapper.sendall(struct.pack(">H", len(asked)) + asked)
            name = asked[1:].decode("latin-1") if asked[0] == _PORT_PLEASE else ""
            if name not in self._elsewhere and asked[0] != _NAMES:
                # A registered node says nothing more, and its end must be seen.
                closing = threading.Thread(target=_pass_on, args=(client, mapper), daemon=True)
                closing.start()
                _pass_on(mapper, client)
                closing.join()
                return
            # The port mapper closes behind its answer.
            answer = b"".join(iter(lambda: mapper.recv(4096), b""))
            if not name:
                answer = _OWN.pack(self.port) + answer[_OWN.size :]
            elif answer[:2] == bytes([_PORT, 0]):
                answer = _ANSWER.pack(_PORT, 0, self._elsewhere[name]) + answer[_ANSWER.size :]
            client.sendall(answer)


def _request(client: socket.socket) -> bytes:
    """One request: two bytes of length, then so many; empty when the client closes first."""
    data = b""
    while len(data) < 2 or len(data) < 2 + struct.unpack(">H", data[:2])[0]:
        more = client.recv(4096)
        if not more:
            return b""
        data += more
    return data[2:]


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Until the source closes; then the target hears of it, and so does who reads the source."""
    try:
        while data := source.recv(4096):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, target):
            one.close()
