"""Deliveries that become letters: one that cannot be stored hurts none of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

import structlog

from messages.request import InferenceRequested
from web.broker.inbox import Inbox, Item
from web.broker.letter import letter_of
from web.database import DatabaseThread, patiently
from web.inference.letter_box import Letter, Rows, put_aside, put_trace_aside
from web.inference.senders import Doubt

log = structlog.get_logger(__name__)

#: Reason of a letter that can never be read: the broker's word for what a consumer rejects.
REJECTED = "rejected"


class Aside(NamedTuple):
    """A delivery, the letter that it is to become, and the request that it is about."""

    item: Item
    letter: Letter
    about: UUID | None
    #: With whom it shares the places of what is tried again.
    whose: str


def unreadable(item: Item, queue: str) -> Aside:
    """A letter at once, and not by way of ``mri.dead``: thousands of them take the broker long."""
    message = item.message
    is_request = message.type == InferenceRequested.wire_type()
    letter = letter_of(message, queue, Doubt.NOT_FROM_ITS_POOL if is_request else REJECTED)
    about: UUID | None = None
    with suppress(ValueError):
        about = UUID(letter.correlation_id)
    return Aside(item, letter, about, letter.user_id)


async def kept(
    database: DatabaseThread,
    inbox: Inbox,
    letters: Sequence[Aside],
    put: Callable[[Rows], None] = put_aside,
) -> list[Item]:
    """Keep the letters, by `put`; the deliveries that are settled by that. The others come again.

    What cannot be stored is tried again after growing pauses. Then only a trace of it is kept, and
    if even that fails it stays with this consumer. A database that is away is waited for.
    """
    if not letters:
        return []
    rows = [(one.letter, one.about) for one in letters]
    try:
        await patiently(lambda: database.run(put, rows))
    except Exception as exc:
        if len(letters) > 1:
            log.warning("letters_not_kept", count=len(letters), error=type(exc).__name__)
            half = len(letters) // 2
            first = await kept(database, inbox, letters[:half], put)
            return [*first, *await kept(database, inbox, letters[half:], put)]
        (one,) = letters
        log.exception("letter_not_kept", queue=one.letter.queue, size=one.letter.size)
        if inbox.try_again(one.item, one.whose):
            return []
        return await _trace_kept(database, inbox, one)
    return [one.item for one in letters]


async def _trace_kept(database: DatabaseThread, inbox: Inbox, one: Aside) -> list[Item]:
    try:
        await patiently(lambda: database.run(put_trace_aside, one.letter))
    except Exception:
        log.exception("letter_held", queue=one.letter.queue, size=one.letter.size)
        inbox.keep_back(one.item, one.whose)
        return []
    log.error("letter_kept_as_trace", queue=one.letter.queue, size=one.letter.size)
    return [one.item]
