"""What a result was computed from, as one number that lab and site derive alike."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256


def input_digest(instances: Iterable[tuple[str, str]]) -> str:
    """SHA-256 in hex over what a result read: (SOP Instance UID, MD5 in hex of its Part 10 file).

    Of every instance of every series that was chosen, in any order; also of those of its other
    phases, since they too say which phase an instance is of. What plays two roles counts once. MD5,
    because archives keep that of what they store and no other: it tells a file that was replaced
    from one that was not, and guards against nobody.
    """
    lines = sorted({f"{uid} {md5.lower()}\n" for uid, md5 in instances})
    return sha256("".join(lines).encode("ascii", "replace")).hexdigest()
