"""What lab and child say to each other over their socket.

To the child: one pickle, and beside it the descriptors of the memory that it names. Back: JSON,
read as what the function says that it returns, because a pickle from foreign code would be code in
the lab.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import socket
import struct
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

from consumer import errors
from consumer.errors import LabError
from consumer.memory import MemoryPath

#: Length of the pickle, number of descriptors.
_REQUEST = struct.Struct("!QI")

#: Kind of an answer, and the length of what follows.
ANSWER = struct.Struct("!cQ")

#: Kinds: the call has begun; what it returned; the error of a job; no memory; any other error.
BEGAN, RETURNED, FAILED, EXHAUSTED, RAISED = b"B", b"R", b"F", b"M", b"X"

#: Descriptors that the kernel carries at a time (SCM_MAX_FD is 253).
_AT_A_TIME = 250

#: Bytes of the largest answer: the SEG of the largest volume is a few hundred megabytes.
MOST_BYTES = 1024**3

#: Characters of a detail that are kept; what messages carry is shorter.
_MOST_DETAIL = 1000

#: The name of a class, for a log.
_NAME = re.compile(r"[A-Za-z_][\w.]{0,99}", re.ASCII)

#: Of values that are no dataclass of ours.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


class NoAnswer(Exception):
    """What came from a child cannot be what its function returns or raises."""


class ChildRaised(Exception):
    """A function raised what is no error of a job; the text has its class and nothing else."""


def request(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[bytes, list[int]]:
    """Return the call as bytes, and the descriptors that go with it."""
    into = io.BytesIO()
    pickler = _Pickler(into)
    pickler.dump((function, args, kwargs))
    return into.getvalue(), pickler.descriptors


def send_request(sock: socket.socket, descriptors: Sequence[int], length: int) -> None:
    """Send what goes before the bytes of a request. The socket is idle, so it has room."""
    sock.sendall(_REQUEST.pack(length, len(descriptors)))
    for start in range(0, len(descriptors), _AT_A_TIME):
        socket.send_fds(sock, [b"\0"], descriptors[start : start + _AT_A_TIME])


def receive_request(sock: socket.socket) -> tuple[bytes, list[int]] | None:
    """Return the next call and its descriptors, in the child; None when the lab is gone."""
    head = _receive(sock, _REQUEST.size)
    if head is None:
        return None
    length, count = _REQUEST.unpack(head)
    descriptors: list[int] = []
    while len(descriptors) < count:
        wanted = min(_AT_A_TIME, count - len(descriptors))
        _, some, _, _ = socket.recv_fds(sock, 1, wanted, socket.MSG_CMSG_CLOEXEC)
        if not some:
            return None
        descriptors += some
    body = _receive(sock, length)
    return None if body is None else (body, descriptors)


def call_of(body: bytes, descriptors: Sequence[int]) -> tuple[Callable[..., Any], Any, Any]:
    """Return the function of a request, its arguments and its keyword arguments."""
    call: tuple[Callable[..., Any], Any, Any] = _Unpickler(io.BytesIO(body), descriptors).load()
    return call


def returned(function: Callable[..., Any], value: object) -> bytes:
    """What the function returned, as an answer."""
    return answer(RETURNED, _adapter(function).dump_json(value, warnings="none"))


def raised(error: Exception) -> bytes:
    """What the function raised, as an answer."""
    if isinstance(error, MemoryError):
        return answer(EXHAUSTED)
    kind = type(error).__name__
    if isinstance(error, LabError):
        words = {"error": kind, "detail": error.detail, "raised": error.raised}
        return answer(FAILED, json.dumps(words).encode())
    return answer(RAISED, kind.encode())


def answer(kind: bytes, body: bytes = b"") -> bytes:
    """An answer of that kind."""
    return ANSWER.pack(kind, len(body)) + body


def read(kind: bytes, body: bytes, function: Callable[..., Any]) -> Any:
    """Return what the function returned, or raise what it raised: `LabError`, `MemoryError`.

    Raises `ChildRaised` for another error, and `NoAnswer` for what is neither.
    """
    if kind == EXHAUSTED:
        raise MemoryError
    if kind == FAILED:
        raise _error(body)
    if kind == RAISED:
        name = body[:200].decode(errors="replace")
        raise ChildRaised(name if _NAME.fullmatch(name) else "an error without a name")
    if kind != RETURNED:
        raise NoAnswer("an answer of an unknown kind")
    try:
        return _adapter(function).validate_json(body)
    except (ValueError, TypeError, RecursionError):
        # Its text quotes what came.
        raise NoAnswer("an answer that the function cannot have given") from None


def _error(body: bytes) -> LabError:
    try:
        words = json.loads(body)
        kind = getattr(errors, str(words["error"]), None)
        detail, name = str(words["detail"]), str(words["raised"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise NoAnswer("an error that cannot be read") from None
    if not (isinstance(kind, type) and issubclass(kind, LabError) and hasattr(kind, "code")):
        raise NoAnswer("an error that is none of a job")
    # One line of a log, and nothing that steers a terminal.
    sentence = "".join(c if c.isprintable() else " " for c in detail[:_MOST_DETAIL])
    return kind(sentence, raised=name if _NAME.fullmatch(name) else "")


def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    """What reads and writes the value of a function, by its annotation."""
    hint = getattr(function, "__annotations__", {}).get("return", Any)
    if isinstance(hint, str):
        # The others may name what is imported for the type checker alone.
        only = SimpleNamespace(__annotations__={"return": hint})
        hint = get_type_hints(only, globalns=function.__globals__)["return"]
    try:
        return TypeAdapter(hint, config=_CONFIG)
    except PydanticUserError:
        # A dataclass has its own.
        return TypeAdapter(hint)


def _receive(sock: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1024**2))
        if not part:
            return None
        parts += part
    return bytes(parts)


class _Pickler(pickle.Pickler):
    """Names memory by the place of its descriptor among those that go along."""

    def __init__(self, into: io.BytesIO) -> None:
        super().__init__(into, pickle.HIGHEST_PROTOCOL)
        self.descriptors: list[int] = []

    def persistent_id(self, value: object) -> int | None:
        if not isinstance(value, MemoryPath):
            return None
        if value.descriptor not in self.descriptors:
            self.descriptors.append(value.descriptor)
        return self.descriptors.index(value.descriptor)


class _Unpickler(pickle.Unpickler):
    def __init__(self, source: io.BytesIO, descriptors: Sequence[int]) -> None:
        super().__init__(source)
        self._descriptors = descriptors

    def persistent_load(self, place: int) -> MemoryPath:
        return MemoryPath(self._descriptors[place])
