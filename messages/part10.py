"""How a stored result is encoded: what both sides read, and what a file says of itself.

An archive may keep an object in another transfer syntax than it was sent in (Orthanc's
``IngestTranscoding``). A result is read uncompressed alone, by the lab that stored it and by the
site that shows it: one set, so that neither calls well what the other cannot read. Where it is kept
otherwise the archive, which has encoded it, is asked to decode it.
"""

from __future__ import annotations

import struct
from email.message import Message

#: Explicit VR Little Endian (PS3.5 section A.2): what the labs write, and ask archives for.
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

#: Implicit and Explicit VR Little Endian: no decoder meets the bytes of a stranger, and nothing
#: inflates.
PLAIN = frozenset({"1.2.840.10008.1.2", EXPLICIT_LITTLE})

#: Bytes of the largest result that is read: a SEG of 1000 slices of 512 x 512 takes 33 MB.
RESULT_BYTES = 512 * 1024**2

#: Where a file begins (PS3.10 section 7.1), behind 128 bytes of anything.
_PREFIX, _START = b"DICM", 132

#: VRs with two reserved bytes and a length of four (PS3.5 section 7.1.2).
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"})

#: (0002,0010) Transfer Syntax UID.
_TRANSFER_SYNTAX = (0x0002, 0x0010)


def transfer_syntax(file: bytes) -> str | None:
    """The transfer syntax that a Part 10 file states; None where it states none.

    Read from the File Meta Information alone, which is in Explicit VR Little Endian (PS3.10
    section 7.1).
    """
    if file[_START - len(_PREFIX) : _START] != _PREFIX:
        return None
    place = _START
    while place + 8 <= len(file):
        group, element, vr, length = struct.unpack_from("<HH2sH", file, place)
        place += 8
        if group != _TRANSFER_SYNTAX[0]:
            return None
        if vr in _LONG:
            if place + 4 > len(file):
                return None
            (length,) = struct.unpack_from("<I", file, place)
            place += 4
        if (group, element) == _TRANSFER_SYNTAX:
            value = file[place : place + min(length, 64)]
            return value.rstrip(b"\0 ").decode("ascii", "replace") or None
        place += length
    return None


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
