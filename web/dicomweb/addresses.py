"""Puts our own address in the place of the archive's, in an answer that goes by piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

#: What the archive is told to call itself, so that its addresses can be found: a name that leads
#: nowhere (RFC 6761) and that no file has in it.
STAND_IN_HOST = "archive.labrelay.invalid"

#: RFC 7239; Orthanc's plugin knows it since 1.0.
FORWARDED = f"host={STAND_IN_HOST};proto=https"

#: What is replaced: DICOMweb's root in the archive, without its last slash.
STAND_IN = f"https://{STAND_IN_HOST}/dicom-web".encode()


async def renamed(parts: AsyncGenerator[bytes], root: bytes) -> AsyncGenerator[bytes]:
    """Pass on the parts with `root` in the place of every `STAND_IN`, also of one cut in two."""
    kept = b""
    # Closed with us: what it holds is given back when the reader goes away.
    async with aclosing(parts):
        async for part in parts:
            joined = (kept + part).replace(STAND_IN, root)
            # Only the beginning of another one is held back, so that a small answer is not.
            cut = len(joined) - _begun(joined)
            kept = joined[cut:]
            if cut:
                yield joined[:cut]
    if kept:
        yield kept


def _begun(text: bytes) -> int:
    """Bytes at the end of `text` with which a `STAND_IN` may begin."""
    for length in range(min(len(STAND_IN) - 1, len(text)), 0, -1):
        if text.endswith(STAND_IN[:length]):
            return length
    return 0
