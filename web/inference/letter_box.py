"""Dead letters as rows: so many of one sender and kind, and counted beyond. Synchronous.

A flood fills neither the database nor the list that staff read, and the letters of others are kept
all the same, and so are those of its sender that can still become an outcome.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q
from django.utils import timezone

from messages.request import InferenceRequested
from web.inference.models import MAX_LETTER_BYTES, DeadLetter, InferenceRequest, LettersBeyond
from web.inference.senders import REPLAYABLE, Doubt
from web.log_limit import limit

log = structlog.get_logger(__name__)

#: Letters of one sender that are kept in one room while nobody has dealt with them: those that came
#: first. Were the newest kept, whoever comes last could throw out what waits.
MOST_LETTERS = 1_000

#: The room of the letters of which no outcome can come by themselves or by a replay.
_OF_NO_USE = ""

#: Senders whose further letters are counted one by one; those of more are counted together.
_MOST_SENDERS = 500

_OTHERS = "(others)"

_REQUEST = InferenceRequested.wire_type()


@dataclass(frozen=True)
class Letter:
    """What of a dead letter is kept; texts as the sender gave them, cut to what a column takes."""

    queue: str
    reason: str
    type: str
    message_id: str
    correlation_id: str
    routing_key: str
    content_type: str
    body: bytes
    #: The user of the broker that has sent it, as the broker has checked; empty: not said.
    user_id: str = ""
    #: Bytes that it came with, of which `body` may hold only the first ones; 0: all of them.
    size: int = 0

    @property
    def sender(self) -> str:
        """As whose it is counted: where nobody signed it, that of everybody who writes there."""
        return self.user_id or self.queue

    @property
    def room(self) -> tuple[str, str]:
        """What it shares its limit with: nobody else's letters, and of its sender none of no use.

        Each reason for which one waits has a room, so that what anybody can write (a type that only
        a newer site would know) keeps out nothing that was read here.
        """
        return self.sender, self.reason if self.reason in REPLAYABLE else _OF_NO_USE


#: Letters, each with the request that it is about.
Rows = Sequence[tuple[Letter, UUID | None]]


def keep(letters: Rows, *, always: bool = False) -> None:
    """Write the letters down; those of which there are too many are counted, unless `always`.

    Call it inside a transaction.
    """
    room = {} if always else _room({letter.room: letter for letter, _ in letters}.values())
    beyond: Counter[str] = Counter()
    reasons: set[str] = set()
    ids = {about for _, about in letters if about is not None}
    known = set(InferenceRequest.objects.filter(pk__in=ids).values_list("pk", flat=True))
    kept: list[tuple[Letter, UUID | None]] = []
    for letter, about in letters:
        if not always:
            if room[letter.room] <= 0:
                beyond[letter.sender] += 1
                reasons.add(letter.reason)
                continue
            room[letter.room] -= 1
        kept.append((letter, about if about in known else None))
    _save(kept)
    for sender, count in beyond.items():
        _count(sender, count)
    if beyond:
        limit.write(
            log.warning,
            "letters_counted_only",
            queue=letters[0][0].queue,
            count=beyond.total(),
            senders=len(beyond),
            # A stranger's text may be one of them.
            reasons=sorted(str(one) for one in Doubt if one in reasons),
        )


def put_aside(letters: Rows) -> None:
    """Keep letters, in a transaction of their own."""
    with transaction.atomic():
        keep(letters)


def put_given_up_aside(letters: Rows) -> None:
    """Keep letters that failed at each try, in a transaction of their own.

    Whatever else of its sender was kept: one of each request that was found dead. Nothing else
    says that it died.
    """
    ids = {about for _, about in letters if about is not None}
    with transaction.atomic():
        lacking = set(InferenceRequest.objects.filter(pk__in=ids).values_list("pk", flat=True))
        open_ = DeadLetter.objects.filter(reason=Doubt.NOT_APPLIED, settled_at=None)
        lacking -= set(
            open_.filter(request__in=ids, type=_REQUEST).values_list("request", flat=True)
        )
        firsts, others = list[tuple[Letter, UUID | None]](), list[tuple[Letter, UUID | None]]()
        for letter, about in letters:
            first = letter.type == _REQUEST and about in lacking
            (firsts if first else others).append((letter, about))
            if first:
                lacking.discard(about)
        keep(firsts, always=True)
        keep(others)


def put_trace_aside(letter: Letter) -> None:
    """Keep of a letter that cannot be stored that it came: sender, routing key, size and digest.

    Within the limit of its sender. Nothing else of what a stranger wrote is in such a row.
    """
    put_aside([(_trace(letter), None)])


def _trace(letter: Letter) -> Letter:
    return Letter(
        queue=_plain(letter.queue),
        reason=str(Doubt.NOT_KEPT),
        type="",
        # Of as much as was read of one that is too long (`web.broker.inbox`).
        message_id=f"sha256:{hashlib.sha256(letter.body).hexdigest()}",
        correlation_id="",
        routing_key=_plain(letter.routing_key),
        content_type="",
        body=b"",
        user_id=_plain(letter.user_id),
        size=letter.size or len(letter.body),
    )


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:255]


def _room(letters: Iterable[Letter]) -> dict[tuple[str, str], int]:
    rooms = {}
    for letter in letters:
        theirs = DeadLetter.objects.filter(user_id=letter.user_id, settled_at=None)
        if not letter.user_id:
            theirs = theirs.filter(queue=letter.queue)
        _, kind = letter.room
        of_its_kind = Q(reason=kind) if kind else ~Q(reason__in=REPLAYABLE)
        rooms[letter.room] = MOST_LETTERS - theirs.filter(of_its_kind).count()
    return rooms


def _save(letters: Sequence[tuple[Letter, UUID | None]]) -> None:
    try:
        with transaction.atomic():
            DeadLetter.objects.bulk_create([_row(letter, about) for letter, about in letters])
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if len(letters) > 1:
            for one in letters:
                _save([one])
            return
        ((letter, about),) = letters
        # A text that this database does not take: that it came is kept all the same.
        log.exception("letter_kept_without_texts", reason=letter.reason)
        bare = replace(
            letter, type="", message_id="", correlation_id="", routing_key="", content_type=""
        )
        _row(bare, about).save(force_insert=True)


def _row(letter: Letter, about: UUID | None) -> DeadLetter:
    return DeadLetter(
        queue=letter.queue,
        reason=letter.reason,
        type=letter.type,
        message_id=letter.message_id,
        correlation_id=letter.correlation_id,
        routing_key=letter.routing_key,
        content_type=letter.content_type,
        user_id=letter.user_id,
        size=letter.size or len(letter.body),
        body=letter.body[:MAX_LETTER_BYTES],
        request_id=about,
    )


def _count(sender: str, count: int) -> None:
    now = timezone.now()
    added = {"count": F("count") + count, "last_at": now}
    if LettersBeyond.objects.filter(sender=sender).update(**added):
        return
    if LettersBeyond.objects.count() >= _MOST_SENDERS:
        sender = _OTHERS
        if LettersBeyond.objects.filter(sender=sender).update(**added):
            return
    _, made = LettersBeyond.objects.get_or_create(
        sender=sender, defaults={"count": count, "last_at": now}
    )
    if not made:
        LettersBeyond.objects.filter(sender=sender).update(**added)
