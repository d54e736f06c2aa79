"""Reads a message's headers even where its sender broke the rules of AMQP.

The broker passes on what it never looked into, for example a timestamp in the year 50 000. pika
raises a plain ValueError on it, in the main thread, and the broker gives the message to the lab
again after each start: one message would keep every lab of the pool down. Without headers it is an
ordinary message that nobody understands, and ends as one. The site has the same for its library
(`web.broker.tolerant`).
"""

from __future__ import annotations

import struct
from typing import Any

from pika import data
from pika.exceptions import InvalidFieldTypeException, UnsupportedAMQPFieldException

_decode = data.decode_table


def install() -> None:
    """Put the reader below in the place of pika's own, for this process."""
    data.decode_table = table


def table(encoded: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """The headers at `offset` and where they end; none of them when one cannot be read."""
    try:
        found: tuple[dict[str, Any], int] = _decode(encoded, offset)
    except (
        ValueError,
        OverflowError,
        OSError,
        InvalidFieldTypeException,
        UnsupportedAMQPFieldException,
    ):
        (length,) = struct.unpack_from(">I", encoded, offset)
        return {}, offset + 4 + length
    return found
