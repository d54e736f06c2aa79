"""Reads the properties of a message even where its sender broke the rules of AMQP.

The broker passes on what it never looked into: a `type` that is not UTF-8, a timestamp in the year
50 000. pamqp raises on it, aiormq ends the connection for that, the broker delivers the message
again on the next one, and so on for ever: one message of a stranger would cut the site off. Read
with replacement characters it is an ordinary message that nobody understands, and ends as one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pamqp import decode

Decoder = Callable[[bytes], tuple[int, Any]]


def install() -> None:
    """Put the readers below in the place of pamqp's own, for this process."""
    decode.METHODS["shortstr"] = short_string
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = moment
    decode.METHODS["table"] = decode.TABLE_MAPPING[b"F"] = table


def short_string(value: bytes) -> tuple[int, str]:
    """A text; bytes that are no UTF-8 become replacement characters."""
    end = value[0] + 1
    return end, value[1:end].decode("utf-8", errors="replace")


def moment(value: bytes) -> tuple[int, Any]:
    """A point in time; None for one that Python cannot hold."""
    return _or_nothing(_moment, value, 8, None)


def table(value: bytes) -> tuple[int, Any]:
    """The headers; none of them when a name or a value cannot be read."""
    (length,) = struct.unpack(">I", value[:4])
    return _or_nothing(_table, value, length + 4, {})


def _or_nothing(read: Decoder, value: bytes, size: int, nothing: Any) -> tuple[int, Any]:
    try:
        return read(value)
    except (ValueError, OverflowError, OSError, LookupError):
        return size, nothing


_moment: Decoder = decode.timestamp
_table: Decoder = decode.field_table
