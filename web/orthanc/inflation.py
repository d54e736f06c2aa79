"""A deflated Part 10 file (PS3.5 section A.5) inflated, up to a bound.

A megabyte of it may become a thousand.
"""

from __future__ import annotations

import struct
import zlib

from messages.part10 import EXPLICIT_LITTLE, RESULT_BYTES, data_set_at
from web.orthanc.errors import TooLargeResult, UnreadableResult

#: Deflated Explicit VR Little Endian.
DEFLATED = "1.2.840.10008.1.2.1.99"


def inflated(file: bytes, most: int = RESULT_BYTES) -> bytes:
    """The file in Explicit VR Little Endian, with no more of its meta information than says so.

    Raises `TooLargeResult` beyond `most` bytes, before they are there, and `UnreadableResult`.
    """
    start = data_set_at(file)
    if start is None:
        raise UnreadableResult("the object does not say where it begins")
    # Without the header of zlib (RFC 1951 alone), as the standard has it.
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflating.decompress(memoryview(file)[start:], most + 1)
    except zlib.error:
        raise UnreadableResult("the object cannot be inflated") from None
    if len(plain) > most:
        raise TooLargeResult("inflated, the object is longer than a result that is read")
    if not inflating.eof:
        raise UnreadableResult("the object ends before it is inflated")
    return _HEADER + plain


def _header() -> bytes:
    """What stands before a data set in Explicit VR Little Endian (PS3.10 section 7.1)."""
    value = EXPLICIT_LITTLE.encode()
    value += b"\0" * (len(value) % 2)
    syntax = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(value)) + value
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(syntax))
    return b"\0" * 128 + b"DICM" + length + syntax


_HEADER = _header()
