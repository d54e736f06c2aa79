"""Text that somebody else wrote, as one line for a page."""

from __future__ import annotations

import unicodedata

#: Unicode categories that have no shape of their own: control characters, and the marks that turn
#: the direction of what stands beside them.
_SHAPELESS = frozenset({"Cc", "Cf", "Cs"})


def one_line(text: str) -> str:
    """The words of `text`, one blank between two, and nothing that is not seen."""
    seen = (c for c in text if c.isspace() or unicodedata.category(c) not in _SHAPELESS)
    return " ".join("".join(seen).split())
