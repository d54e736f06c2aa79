"""References within the document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


def key(name: str) -> str:
    """A name as it may stand between the dots of a reference."""
    return name.replace(".", "_")


def message_refs(names: Iterable[str]) -> dict[str, Any]:
    """The ``messages`` of a channel: references to the components of these names."""
    return {key(name): {"$ref": f"#/components/messages/{key(name)}"} for name in names}


def operation(action: str, channel: str, names: Iterable[str]) -> dict[str, Any]:
    """An operation on a channel with these of its messages."""
    at = f"#/channels/{key(channel)}"
    return {
        "action": action,
        "channel": {"$ref": at},
        "messages": [{"$ref": f"{at}/messages/{key(name)}"} for name in names],
    }


def first_line(model: type[BaseModel]) -> str:
    """What a model says of itself in one line."""
    return (model.__doc__ or "").strip().splitlines()[0]
