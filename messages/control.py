"""What the clinic tells every lab of a pool at once."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from messages.envelope import Message


class CancelRequested(Message):
    """A reader no longer wants the result. Published to the fanout ``mri.control.<pool>``."""

    TYPE: ClassVar[str] = "cancel.requested"

    request_id: UUID
