"""What both sides say of a RabbitMQ: versions that cannot be used, and what it shows to whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

#: Versions that show queues and exchanges only to a user who may configure them: neither a site
#: nor a lab may. Before them a passive declare needs no right, after them any right will do
#: (rabbit_channel.erl, ``queue.declare`` with ``passive``). Each with the version to use.
UNUSABLE: Final[Mapping[str, str]] = {"4.2.6": "4.2.7", "4.3.0": "4.3.1"}


def version_of(properties: Mapping[Any, Any] | None) -> str:
    """The version that a broker states as a connection opens; "" when it states none.

    Field tables come with text or with bytes, by the library.
    """
    for key, value in (properties or {}).items():
        if _text(key) == "version":
            return _text(value)
    return ""


def why_unusable(version: str) -> str | None:
    """The sentence that says why this broker cannot be used; None when it can."""
    better = UNUSABLE.get(version)
    if better is None:
        return None
    return (
        f"RabbitMQ {version} cannot be used: it shows a queue only to who may configure it, and "
        f"neither a site nor a lab may; use {better} or newer"
    )


class Seen(Enum):
    """What a passive declare says of a queue or an exchange."""

    THERE = "there"
    MISSING = "missing"
    #: RabbitMQ 4.2.7, 4.3.1 and newer show nothing to who has no right on it, and answer the same
    #: whether it is there or not.
    HIDDEN = "hidden"


#: Kind (queue, exchange) and name, and what was seen.
Furniture = Mapping[tuple[str, str], Seen]


def named(furniture: Furniture, what: Seen) -> list[str]:
    """Kind and name of everything that was seen so."""
    return [f"{kind} {name}" for (kind, name), seen in furniture.items() if seen is what]


def due(furniture: Furniture, rights: Mapping[str, str]) -> Furniture:
    """What a user with these rights is shown by every usable version, if it is there."""
    return {
        (kind, name): seen
        for (kind, name), seen in furniture.items()
        if any(re.search(rights[right], name) for right in ("configure", "write", "read"))
    }


def counted(furniture: Furniture, user: str) -> str:
    """How much is there, and how much this user cannot be told of."""
    there = [kind for (kind, _), seen in furniture.items() if seen is Seen.THERE]
    text = f"{there.count('queue')} queues and {there.count('exchange')} exchanges are there"
    hidden = len(named(furniture, Seen.HIDDEN))
    return (
        f"{text}; {hidden} are not shown to {user}, which has no right on them" if hidden else text
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
