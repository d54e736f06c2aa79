"""A program of ours as its next version would be: it also reads ``inference.requested.v2``.

Run as ``python -m tests.integration.newer run``, it is the newer lab.
"""

from __future__ import annotations

from typing import ClassVar

from messages import codec
from messages.envelope import Message
from messages.events import InferenceCompleted
from messages.request import InferenceRequested


class NewerRequest(InferenceRequested):
    """The next version, which an older lab cannot read whatever it holds."""

    VERSION: ClassVar[int] = 2


class NewerCompleted(InferenceCompleted):
    """The same of a lab's answer."""

    VERSION: ClassVar[int] = 2


#: What a program knows once it has been upgraded, by wire type.
KNOWN: dict[str, type[Message]] = {
    message.wire_type(): message for message in (NewerRequest, NewerCompleted)
}


def upgrade() -> None:
    """Let this process read them too."""
    # Replaced and not added to: to everybody else the table is as good as frozen.
    codec._BY_TYPE = {**codec._BY_TYPE, **KNOWN}  # type: ignore[misc]


if __name__ == "__main__":
    upgrade()
    from consumer.__main__ import app

    app()
