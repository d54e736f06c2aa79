"""Letters that wait for staff to confirm their lab, or for a newer site: applied then. Synchronous.

They are events that nothing was wrong with. What is still in doubt about one becomes its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from messages.codec import decode
from messages.errors import ContractError, UndecodableMessage, UnknownVersion
from messages.events import InferenceCompleted, RunEvent
from web.inference.models import DeadLetter
from web.inference.record import record_event
from web.inference.senders import PASSING, Doubt, ReceivedEvent, Senders
from web.inference.superseded import with_superseded
from web.labs.registry import confirmed

log = structlog.get_logger(__name__)

#: Letters that one call takes up.
LIMIT = 50

#: What `DeadLetter.settled_as` is then.
APPLIED = "applied"


@dataclass(frozen=True)
class TakenUp:
    """What one call has done: requests that changed, and letters that are still to be looked at."""

    changed: list[UUID]
    left: int


def take_up(limit: int = LIMIT) -> TakenUp:
    """Apply the oldest letters that can be applied now, all in one transaction."""
    changed: list[UUID] = []
    results: list[UUID] = []
    if not DeadLetter.objects.filter(settled_at=None, reason__in=PASSING).exists():
        # Nearly always: no lock is taken for it.
        return TakenUp([], 0)
    with transaction.atomic():
        waiting = _waiting()
        letters = list(waiting.order_by("pk").select_for_update()[:limit])
        # As the listener locks their requests: two would wait for each other otherwise.
        pairs = sorted(_received(letters), key=lambda pair: pair[1].event.request_id)
        speakers = Senders([received for _, received in pairs])
        for letter, received in pairs:
            doubt = speakers.doubt_about(received)
            if doubt is None:
                doubt = _apply(received, changed, results)
            if doubt is None:
                letter.settled_at, letter.settled_as = timezone.now(), APPLIED
            else:
                letter.reason = str(doubt)
            letter.save(update_fields=["settled_at", "settled_as", "reason"])
        older = with_superseded(results) if results else []
        left = _waiting().count() if letters else 0
    if letters:
        log.info("letters_taken_up", count=len(letters), left=left)
    return TakenUp(list(dict.fromkeys([*changed, *older])), left)


def _waiting() -> QuerySet[DeadLetter]:
    open_ones = DeadLetter.objects.filter(settled_at=None)
    known = Q(reason=Doubt.UNCONFIRMED, user_id__in=confirmed().values("name"))
    kinds = open_ones.filter(reason=Doubt.NEWER).values_list("type", flat=True).distinct()
    readable = Q(reason=Doubt.NEWER, type__in=[kind for kind in kinds if _is_known(kind)])
    return open_ones.filter(known | readable)


def _is_known(kind: str) -> bool:
    """Whether this site knows the type by now."""
    try:
        decode(b"", type_=kind)
    except UnknownVersion:
        return False
    except UndecodableMessage:
        # Nothing is no message of any type.
        return True
    return True


def _received(letters: list[DeadLetter]) -> Iterator[tuple[DeadLetter, ReceivedEvent]]:
    for letter in letters:
        try:
            message = decode(
                bytes(letter.body), type_=letter.type, content_type=letter.content_type or None
            )
        except ContractError:
            message = None
        except Exception:
            # A fault of ours that one letter shows: the others have their turn.
            log.exception("letter_not_read", letter=letter.pk)
            message = None
        if isinstance(message, RunEvent):
            yield letter, ReceivedEvent(message, letter.user_id, letter.received_at)
        else:
            # A newer word in a type that is known, or nothing at all: for staff.
            letter.reason = "unreadable"
            letter.save(update_fields=["reason"])


def _apply(received: ReceivedEvent, changed: list[UUID], results: list[UUID]) -> Doubt | None:
    try:
        with transaction.atomic():
            if record_event(received.as_received):
                changed.append(received.event.request_id)
                if isinstance(received.event, InferenceCompleted):
                    results.append(received.event.request_id)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("letter_not_applied", request_id=str(received.event.request_id))
        return Doubt.NOT_APPLIED
    return None
