"""Messages on their way out: written with the decision, published after its commit."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from messages.codec import encode
from messages.control import CancelRequested
from messages.envelope import Message
from messages.request import InferenceRequested
from messages.topology import REQUESTS, RULES, control_exchange
from web.inference.models import InferenceRequest, Outbox
from web.inference.superseded import number_in_study, superseded_by

log = structlog.get_logger(__name__)

#: Sent with the new `row` after the commit that wrote it, in the thread that committed. A hint:
#: whoever misses it finds the row by looking.
written = Signal()

#: Stops of one request that are sent within so many seconds. A lab that says without end that it
#: holds what nobody wants is told so no more often; further stops gather in one, sent after that.
MOST_STOPS, STOP_SECONDS = 4, 10.0

#: The `app_id` of every message of the site.
APP_ID = "labrelay-web"


def enqueue_on_commit(
    request: InferenceRequest,
    message: Message,
    *,
    exchange: str,
    routing_key: str,
    held: bool = False,
    not_before: datetime | None = None,
) -> Outbox:
    """Write the message down; the relay hears of it once the transaction is committed.

    Of one that is `held` it hears nothing, and takes it only once it is released; of one that is
    not to be sent before some time neither, and finds it then.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("a message is written in the transaction that decides on it")
    if routing_key.startswith(f"{RULES}."):
        # It would wait where nobody looks for it, and be sent again as lost for ever.
        raise RuntimeError(
            "the site sends nothing that a rule asks for: queues_of in web.reconciler.lost must "
            "first ask the queues of rules as well"
        )
    wire = encode(message, app_id=APP_ID)
    row = Outbox.objects.create(
        request=request,
        message_id=wire.message_id,
        exchange=exchange,
        routing_key=routing_key,
        type=wire.type,
        body=wire.body,
        headers=wire.headers,
        held=held,
        # Nobody's lease: no relay takes it before it is over.
        leased_until=not_before,
    )
    later = held or not_before is not None
    transaction.on_commit(partial(_say if later else _ring, row), robust=True)
    return row


def message_of(request: InferenceRequest) -> InferenceRequested:
    """The message of a request's present attempt, as its row is now."""
    return InferenceRequested(
        request_id=request.pk,
        attempt=request.attempt,
        pool=request.pool,
        model=request.model,
        study_uid=request.study_uid,
        inputs=request.inputs,
        threshold=request.threshold,
        deadline_s=request.deadline_s,
        retries=0,
        supersedes=superseded_by(request),
        number=number_in_study(request),
    )


def enqueue_request(request: InferenceRequest, *, held: bool = False) -> Outbox:
    """Write down the message of a request's present attempt."""
    message = message_of(request)
    return enqueue_on_commit(
        request, message, exchange=REQUESTS, routing_key=message.routing_key, held=held
    )


def release(request: InferenceRequest) -> None:
    """Write the held message of a request anew, as its row is now, for the relays to send.

    The request must be locked.
    """
    if take_back(request, held=True, attempted=False):
        enqueue_request(request)
        return
    # A relay of an older version, which knows nothing of what is held, has had it and may have
    # sent it: there must be no second one with other numbers under the same attempt.
    Outbox.objects.filter(
        request=request, type=InferenceRequested.wire_type(), sent_at=None, held=True
    ).update(held=False)


def enqueue_stop(request: InferenceRequest) -> None:
    """Write down that every lab of its pool must stop the request, unless that is on its way.

    Those that were sent some time ago are forgotten, so that they do not grow with what labs say.
    """
    message = CancelRequested(request_id=request.pk)
    # One that a relay has had may have been told already, to labs that did not hold it yet.
    on_its_way = Outbox.objects.filter(
        request=request, type=message.wire_type(), sent_at=None, attempted=False
    )
    if on_its_way.exists():
        return
    since = timezone.now() - timedelta(seconds=STOP_SECONDS)
    sent = Outbox.objects.filter(request=request, type=message.wire_type(), sent_at__isnull=False)
    sent.filter(sent_at__lt=since).delete()
    lately = list(sent.order_by("-sent_at").values_list("sent_at", flat=True)[:MOST_STOPS])
    oldest = lately[-1] if len(lately) == MOST_STOPS else None
    enqueue_on_commit(
        request,
        message,
        exchange=control_exchange(request.pool),
        routing_key="",
        not_before=None if oldest is None else oldest + timedelta(seconds=STOP_SECONDS),
    )


def take_back(request: InferenceRequest, **which: object) -> bool:
    """Delete what of a request that nobody wants any more still waits to be published.

    `which` narrows it down. Returns whether something was deleted. The request must be locked.
    """
    waiting = Outbox.objects.filter(
        request=request, type=InferenceRequested.wire_type(), sent_at=None, **which
    )
    # Not what a relay is marking: it has that row and waits for the request, which is locked here.
    free = waiting.select_for_update(skip_locked=True).values_list("pk", flat=True)
    return Outbox.objects.filter(pk__in=list(free)).delete()[0] > 0


def _say(row: Outbox) -> None:
    log.info("request_written", request_id=str(row.request_id), message=row.type, held=row.held)


def _ring(row: Outbox) -> None:
    _say(row)
    written.send_robust(sender=Outbox, row=row)
