"""How a stored result is encoded: what both sides read, and what a file says of itself.

An archive may keep an object in another transfer syntax than it was sent in (Orthanc's
``IngestTranscoding``). A result is read uncompressed alone, by the lab that stored it and by the
site that shows it: one set, so that neither calls well what the other cannot read. Where it is kept
otherwise the archive, which has encoded it, is asked to decode it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from email.message import Message

#: Explicit VR Little Endian (PS3.5 section A.2): what the labs write, and ask archives for.
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

#: Implicit and Explicit VR Little Endian: no decoder meets the bytes of a stranger, and nothing
#: inflates.
PLAIN = frozenset({"1.2.840.10008.1.2", EXPLICIT_LITTLE})

#: Bytes of the largest result that is read: a SEG that marks every one of 4000 slices of 512 x 512,
#: the longest series that a lab takes, has 131 MB of pixels, and one of 1000 has 33 MB.
RESULT_BYTES = 160 * 1024**2

#: Bytes of the File Meta Information: some hundred in a result of ours, a few thousand with private
#: information. It is not looked through for longer.
_META_BYTES = 64 * 1024

#: Where a file begins (PS3.10 section 7.1), behind 128 bytes of anything.
_PREFIX, _START = b"DICM", 132

#: VRs with two reserved bytes and a length of four (PS3.5 section 7.1.2).
LONG_VRS = frozenset(
    {
        *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV"),
        *(b"UC", b"UN", b"UR", b"UT", b"UV"),
    }
)

#: (0002,0010) Transfer Syntax UID.
_TRANSFER_SYNTAX = (0x0002, 0x0010)


def transfer_syntax(file: bytes) -> str | None:
    """The transfer syntax that a Part 10 file states; None where it states none.

    Read from the File Meta Information alone, which is in Explicit VR Little Endian (PS3.10
    section 7.1). Of several that which comes first.
    """
    return next(
        (
            file[place : place + min(length, 64)].rstrip(b"\0 ").decode("ascii", "replace") or None
            for tag, place, length in _meta(file)
            if tag == _TRANSFER_SYNTAX
        ),
        None,
    )


def data_set_at(file: bytes) -> int | None:
    """Where the File Meta Information of a Part 10 file ends; None where it does not."""
    end = None
    for _tag, place, length in _meta(file):
        end = place + length
    return end if end is not None and end <= min(len(file), _META_BYTES) else None


def _meta(file: bytes) -> Iterator[tuple[tuple[int, int], int, int]]:
    """Tag, place and length of the value of each element of the File Meta Information."""
    if file[_START - len(_PREFIX) : _START] != _PREFIX:
        return
    place, end = _START, min(len(file), _META_BYTES)
    while place + 8 <= end:
        group, element, vr, length = struct.unpack_from("<HH2sH", file, place)
        if group != _TRANSFER_SYNTAX[0]:
            return
        place += 8
        if vr in LONG_VRS:
            if place + 4 > end:
                return
            (length,) = struct.unpack_from("<I", file, place)
            place += 4
        yield (group, element), place, length
        place += length


def plain_accept() -> str:
    """What a WADO-RS request for an uncompressed object accepts (PS3.18 section 8.7.3)."""
    return f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT_LITTLE}'


def only_part(body: bytes, content_type: str) -> bytes | None:
    """The one object in a multipart answer (RFC 2046 section 5.1); None where it is no such."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        return None
    delimiter = b"--" + boundary.encode("latin-1")
    begin = body.find(delimiter)
    text = body.find(b"\r\n\r\n", begin)
    end = body.rfind(b"\r\n" + delimiter + b"--")
    if not 0 <= begin < text < end or body.find(b"\r\n" + delimiter, text + 2) != end:
        return None
    return body[text + 4 : end]
