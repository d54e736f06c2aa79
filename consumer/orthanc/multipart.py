"""A multipart/related body, as WADO-RS answers a series with, taken apart where it lies."""

from __future__ import annotations

import re
from email.message import Message
from typing import TYPE_CHECKING

from consumer.errors import ArchiveUnavailable

if TYPE_CHECKING:
    import mmap

#: What a header block of a part may take; Orthanc writes about 100 bytes.
_PART_HEADER_BYTES = 4096


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type names; ArchiveUnavailable for another type."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise ArchiveUnavailable("the archive answered a series with something else")
    return boundary.encode("latin-1")


class PartCount:
    """Counts the parts of a body while it comes, for a limit that must not wait for its end.

    A delimiter inside a part counts too; the server draws one that it does not hold.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._tail = b""
        self._found = 0

    def add(self, piece: bytes) -> int:
        """Take the next bytes; returns how many parts have begun."""
        seen = self._tail + piece
        self._found += seen.count(self._delimiter)
        # Too short for a delimiter, so that none is counted twice.
        self._tail = seen[-(len(self._delimiter) - 1) :]
        return self._found


def parts_of(body: mmap.mmap, start: int, boundary: bytes) -> list[tuple[int, int]]:
    """Return (offset, length) of each part of the multipart body (RFC 2046 5.1) at `start`.

    Nothing is copied. Raises ArchiveUnavailable where the body is not whole: a series of which
    the end is missing must never pass for a shorter one.
    """
    delimiter = b"--" + boundary
    parts: list[tuple[int, int]] = []
    # Orthanc begins with the delimiter; RFC 2046 also allows a line break and a preamble.
    place = body.find(delimiter, start)
    while place >= 0:
        place += len(delimiter)
        if body[place : place + 2] == b"--":
            if parts:
                return parts
            break
        head_end = body.find(b"\r\n\r\n", place, place + _PART_HEADER_BYTES)
        if head_end < 0:
            break
        first = head_end + 4
        length = re.search(rb"(?im)^content-length:[ \t]*(\d{1,12})[ \t]*\r?$", body[place:first])
        # With a length the search begins where the part must end: pixels may hold anything.
        end = body.find(b"\r\n" + delimiter, first + int(length[1]) if length else first)
        if end < 0 or (length and end != first + int(length[1])):
            break
        parts.append((first, end - first))
        place = end + 2
    raise ArchiveUnavailable("the archive sent a series that is not whole")
