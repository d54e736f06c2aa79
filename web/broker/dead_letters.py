"""``mri.dead``: each letter becomes a row that staff can see; then it is acknowledged.

A crash between commit and ack shows one letter twice, which is better than not at all. What a
letter says is applied where its sender may say it. One that cannot be applied or kept is tried
again beside the others, not in front of them, and after its tries kept as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from messages.codec import decode
from messages.envelope import Message
from messages.errors import ContractError
from messages.events import RunEvent
from messages.request import InferenceRequested
from messages.topology import DEAD_QUEUE, RETRY_TIERS, work_queues
from messages.topology_before import retry_queue as retry_queue_before
from web import notify
from web.broker.aside import Aside, kept
from web.broker.connection import Session
from web.broker.inbox import BATCH, MOST_TRIED, Inbox, Item
from web.broker.letter import letter_of
from web.database import DatabaseThread, patiently
from web.inference.letter_box import Letter, keep, put_given_up_aside
from web.inference.models import InferenceRequest
from web.inference.record import record_dead, record_event
from web.inference.senders import MOST_AHEAD, Doubt, ReceivedEvent, Senders
from web.inference.superseded import with_superseded

log = structlog.get_logger(__name__)

__all__ = ["DeadLetters", "Letter", "store"]


@dataclass
class Stored:
    """What has become of some letters."""

    #: Requests.
    changed: list[UUID] = field(default_factory=list)
    #: Places of the letters of which nothing is written, as what they say could not be applied.
    failed: list[int] = field(default_factory=list)


class DeadLetters:
    """Moves the letters into the database and draws the conclusions."""

    def __init__(self, database: DatabaseThread) -> None:
        self._database = database

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        async with Inbox(session, DEAD_QUEUE, prefetch=2 * BATCH + MOST_TRIED) as inbox:
            while True:
                await self.settle(await inbox.batch(), inbox)

    async def settle(self, items: Sequence[Item], inbox: Inbox) -> None:
        """Store the letters and acknowledge them; those that fail come again."""
        # Apart: with one that has failed before, the whole would fail once more.
        groups = ([one for one in items if not one.tries], [one for one in items if one.tries])
        changed: list[UUID] = []
        for group in groups:
            changed += await self._settled(group, inbox)
        await notify.requests_changed(list(dict.fromkeys(changed)))

    async def _settled(self, items: Sequence[Item], inbox: Inbox) -> list[UUID]:
        """As `settle`; the requests that changed."""
        if not items:
            return []
        letters = [letter_of(item.message) for item in items]
        failed = list(range(len(items)))
        changed = list[UUID]()
        try:
            stored = await self._stored(letters)
            changed, failed = stored.changed, stored.failed
        except Exception as exc:
            if len(items) > 1:
                # One of them shows a fault of ours. Which one is found by halves.
                log.warning("dead_letters_not_stored", count=len(items), error=type(exc).__name__)
                half = len(items) // 2
                for some in (items[:half], items[half:]):
                    changed += await self._settled(some, inbox)
                return changed
            log.exception("dead_letter_not_stored", queue=letters[0].queue, size=letters[0].size)
        settled = [item for number, item in enumerate(items) if number not in failed]
        given_up = []
        for number in failed:
            item, letter = items[number], letters[number]
            # By the queue, which the broker names: of each pool it is another.
            if not inbox.try_again(item, letter.queue):
                about = _request_id(letter, _message(letter))
                letter = replace(letter, reason=str(Doubt.NOT_APPLIED))
                given_up.append(Aside(item, letter, about, letter.queue))
        settled += await kept(self._database, inbox, given_up, put=put_given_up_aside)
        # THE ACK: the letters are committed.
        for item in settled:
            await item.message.ack()
        return changed

    async def _stored(self, letters: Sequence[Letter]) -> Stored:
        stored = await patiently(lambda: self._database.run(store, *letters))
        if len(stored.failed) == len(letters):
            return stored
        newest = letters[-1]
        log.error(
            "dead_letters",
            count=len(letters) - len(stored.failed),
            queue=newest.queue,
            reason=newest.reason,
            type=newest.type,
            message_id=newest.message_id,
        )
        return stored


def store(*letters: Letter) -> Stored:
    """Write letters down and apply what they say, in one transaction; a failed one is not kept."""
    messages = [_message(letter) for letter in letters]
    now = timezone.now()
    with transaction.atomic():
        received = [
            ReceivedEvent(one, letter.user_id, now) for letter, one in _events(letters, messages)
        ]
        speakers, requests = Senders(received), _Requests(messages)
        done = Stored()
        ordinary: list[tuple[Letter, UUID | None]] = []
        abouts = [_request_id(*pair) for pair in zip(letters, messages, strict=True)]
        # As the listener locks their requests: two would wait for each other otherwise.
        for number in sorted(range(len(letters)), key=lambda number: str(abouts[number])):
            letter, message, about = letters[number], messages[number], abouts[number]
            try:
                with transaction.atomic():
                    doubt, did, dead = _concluded(letter, message, speakers, requests)
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                if not done.failed:
                    # Of many that fail alike one says why.
                    log.exception("letter_not_applied", request_id=str(about))
                done.failed.append(number)
                continue
            if did and about is not None:
                done.changed.append(about)
            row = letter if doubt is None else replace(letter, reason=str(doubt))
            if dead:
                # One for each time that a request died: no flood, whatever a lab does.
                keep([(row, about)], always=True)
            else:
                ordinary.append((row, about))
        keep(ordinary)
    changed = done.changed
    done.changed = list(dict.fromkeys([*changed, *(with_superseded(changed) if changed else [])]))
    return done


class _Requests:
    """The pools and attempts of requests that were found dead, read once for all of them.

    A lab can reject thousands of copies of one: the first decides.
    """

    def __init__(self, messages: Sequence[Message | None]) -> None:
        ids = {one.request_id for one in messages if isinstance(one, InferenceRequested)}
        rows = InferenceRequest.objects.filter(pk__in=ids).values_list("pk", "pool", "attempt")
        self._rows = {pk: (pool, attempt) for pk, pool, attempt in rows}
        self._dead: set[tuple[UUID, int]] = set()

    def doubt_about(self, letter: Letter, message: InferenceRequested) -> Doubt | None:
        """Why nobody has given up on it, or None; also of a request that is not there."""
        if message.request_id not in self._rows:
            return None
        pool, attempt = self._rows[message.request_id]
        if letter.queue not in _queues_of(pool):
            # Any lab can write any message among its own events, or into its own tiers.
            return Doubt.NOT_FROM_ITS_POOL
        # Of an attempt that was sent: a lab of its pool may write another.
        return Doubt.NO_SUCH_ATTEMPT if message.attempt > attempt + MOST_AHEAD else None

    def record(self, message: InferenceRequested) -> bool:
        """Write down that it died; whether that changed it."""
        one = (message.request_id, message.attempt)
        if message.request_id not in self._rows or one in self._dead:
            return False
        died = record_dead(*one, timezone.now())
        self._dead.add(one)
        return died


def _concluded(
    letter: Letter, message: Message | None, speakers: Senders, requests: _Requests
) -> tuple[Doubt | None, bool, bool]:
    """Why it is not applied, whether it changed its request, and whether that is given up."""
    if isinstance(message, RunEvent):
        received = ReceivedEvent(message, letter.user_id, timezone.now())
        doubt = speakers.doubt_about(received)
        return doubt, doubt is None and record_event(received.as_received), False
    if isinstance(message, InferenceRequested):
        doubt = requests.doubt_about(letter, message)
        died = doubt is None and requests.record(message)
        return doubt, died, died
    return None, False, False


def _queues_of(pool: str) -> tuple[str, ...]:
    return (*work_queues(pool), *(retry_queue_before(tier, pool) for tier in RETRY_TIERS))


def _events(
    letters: Sequence[Letter], messages: Sequence[Message | None]
) -> list[tuple[Letter, RunEvent]]:
    pairs = zip(letters, messages, strict=True)
    return [(letter, message) for letter, message in pairs if isinstance(message, RunEvent)]


def _message(letter: Letter) -> Message | None:
    try:
        return decode(letter.body, type_=letter.type, content_type=letter.content_type or None)
    except ContractError:
        return None


def _request_id(letter: Letter, message: Message | None) -> UUID | None:
    if isinstance(message, (RunEvent, InferenceRequested)):
        return message.request_id
    try:
        return UUID(letter.correlation_id)
    except ValueError:
        return None
