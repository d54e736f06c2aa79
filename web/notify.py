"""Hints that something changed. At most once: a lost one heals through `web.live.watch`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer  # type: ignore[import-untyped]
from django.db import transaction

log = structlog.get_logger(__name__)

#: Sockets that show every request.
WORKLIST_GROUP = "worklist"

#: Every socket that follows anything.
LABS_GROUP = "labs"


def group_of(request_id: UUID) -> str:
    """The group of the sockets that follow a request."""
    return f"request.{request_id.hex}"


def group_of_session(session_key: str) -> str:
    """The group of a session's sockets; not its key, which would let in whoever reads it."""
    return f"session.{sha256(session_key.encode()).hexdigest()}"


async def requests_changed(request_ids: Iterable[UUID]) -> None:
    """Tell the sockets that follow these requests; never raises."""
    for request_id in request_ids:
        hint = {"type": "request.changed", "request_ids": [str(request_id)]}
        await _send(group_of(request_id), hint)
        await _send(WORKLIST_GROUP, hint)


def notify_on_commit(request_id: UUID) -> None:
    """Tell the same of a change that a view or a command makes, once it is committed."""
    # Robust: what is told is committed by then.
    transaction.on_commit(partial(async_to_sync(requests_changed), [request_id]), robust=True)


async def labs_changed() -> None:
    """Tell every socket to look at the labs; never raises."""
    await _send(LABS_GROUP, {"type": "labs.changed"})


async def session_ended(session_key: str) -> None:
    """Close the sockets of a session that is logged out; never raises."""
    await _send(group_of_session(session_key), {"type": "session.ended"})


async def _send(group: str, hint: dict[str, Any]) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        await layer.group_send(group, hint)
    except Exception:
        # The outcome is committed already; a broken channel layer must not hold it up.
        log.exception("hint_not_sent", group=group)
