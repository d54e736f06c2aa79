"""Messages on their way out: written with the decision, published after its commit."""

from __future__ import annotations

from functools import partial

import structlog
from django.db import transaction
from django.dispatch import Signal

from messages.codec import encode
from messages.envelope import Message
from web.inference.models import InferenceRequest, Outbox

log = structlog.get_logger(__name__)

#: Sent with the new `row` after the commit that wrote it, in the thread that committed. A hint:
#: whoever misses it finds the row by looking.
written = Signal()

#: The `app_id` of every message of the site.
APP_ID = "labrelay-web"


def enqueue_on_commit(
    request: InferenceRequest, message: Message, *, exchange: str, routing_key: str
) -> Outbox:
    """Write the message down; the relay hears of it once the transaction is committed."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("a message is written in the transaction that decides on it")
    wire = encode(message, app_id=APP_ID)
    row = Outbox.objects.create(
        request=request,
        message_id=wire.message_id,
        exchange=exchange,
        routing_key=routing_key,
        type=wire.type,
        body=wire.body,
        headers=wire.headers,
    )
    transaction.on_commit(partial(_ring, row), robust=True)
    return row


def _ring(row: Outbox) -> None:
    log.info("request_written", request_id=str(row.request_id), message=row.type)
    written.send_robust(sender=Outbox, row=row)
