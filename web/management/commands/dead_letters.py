"""``mri-web dead_letters``: look at what the broker gave up, send it again or put it aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from messages.errors import ContractError
from web.access.audit import Way
from web.access.caller import Caller
from web.access.grants import EVERYTHING
from web.database import why_not_migrated
from web.inference.letters import LeftAsItIs, discard, message_of, replay
from web.inference.models import DeadLetter, LettersBeyond

#: Letters that are listed if nothing else is asked for.
LIMIT = 50


class Command(BaseCommand):
    """Texts of strangers come to the terminal in printable ASCII, and no body that is not ours."""

    help = "List and show dead letters, replay or discard them. Exit 1 when one was left as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        """One word for what is to be done."""
        doing = parser.add_subparsers(
            dest="doing", required=True, metavar="list|show|replay|discard"
        )
        listed = doing.add_parser("list", help="The open letters, the newest first.")
        listed.add_argument("--all", action="store_true", help="Also those dealt with already.")
        listed.add_argument("--limit", type=int, default=LIMIT, help="At most so many.")
        show = doing.add_parser("show", help="What is known of a letter, and its message.")
        show.add_argument("id", type=int, help="Its number in the list.")
        for one in (listed, show):
            one.add_argument("--json", action="store_true", help="For programs.")
        for name, text in (
            ("replay", "Send dead requests out again, under their next attempt."),
            ("discard", "Put letters aside; their requests stay as they are."),
        ):
            deed = doing.add_parser(name, help=text)
            deed.add_argument("ids", type=int, nargs="+", metavar="id", help="As in the list.")
            if name == "replay":
                deed.add_argument(
                    "--lab",
                    default="",
                    metavar="NAME",
                    help="Who has spoken, of events of which the broker has not said it.",
                )

    @no_translations
    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it, or say in one sentence why not."""
        if problem := why_not_migrated():
            raise CommandError(f"{problem}; or another database is meant (VAR_DIR, DATABASE_URL)")
        match options["doing"]:
            case "list":
                self._list(options["all"], options["limit"], as_json=options["json"])
            case "show":
                self._show(options["id"], as_json=options["json"])
            case "replay":
                self._deal(options["ids"], partial(replay, lab=options["lab"]))
            case "discard":
                self._deal(options["ids"], discard)

    def _list(self, everything: bool, limit: int, *, as_json: bool) -> None:
        if not 0 < limit <= 100_000:
            raise CommandError("--limit must lie between 1 and 100000")
        letters = DeadLetter.objects.select_related("settled_by").defer("body")
        if not everything:
            letters = letters.filter(settled_at=None)
        found = list(letters[: limit + 1])
        if as_json:
            self.stdout.write(json.dumps([_known(letter) for letter in found[:limit]], indent=2))
        else:
            for letter in found[:limit]:
                self.stdout.write(_line(letter))
            if not found:
                # Not among the letters, which programs may count.
                self.stderr.write("There are no dead letters to be dealt with.")
        for more in LettersBeyond.objects.all():
            # Nor are these: nobody can show or replay them.
            self.stderr.write(
                f"{more.count} more of {_printable(more.sender)} were counted and not kept, the "
                f"last at {more.last_at.isoformat(timespec='seconds')}."
            )
        if len(found) > limit:
            self.stderr.write(f"There are more; these are the newest {limit}.")

    def _show(self, letter_id: int, *, as_json: bool) -> None:
        letters = DeadLetter.objects.select_related("settled_by")
        letter = letters.filter(pk=letter_id).first()
        if letter is None:
            raise CommandError("there is no dead letter of that number")
        known = _known(letter) | _content(letter)
        if as_json:
            self.stdout.write(json.dumps(known, indent=2))
            return
        message = known.pop("message", None)
        for name, value in known.items():
            self.stdout.write(f"{name}: {'' if value is None else value}")
        if message is not None:
            self.stdout.write(f"message:\n{json.dumps(message, indent=2)}")

    def _deal(self, ids: Sequence[int], deed: Callable[[int, Caller], str]) -> None:
        """One sentence for each; those that can be dealt with are, whatever the others are."""
        staff = Caller(user=None, way=Way.COMMAND, address=None, scope=EVERYTHING)
        left = 0
        for letter_id in dict.fromkeys(ids):
            try:
                self.stdout.write(f"{letter_id}: {deed(letter_id, staff)}")
            except LeftAsItIs as exc:
                left += 1
                self.stderr.write(f"{letter_id}: {exc.sentence}")
        if left:
            raise CommandError(f"left as they are: {left} of {len(set(ids))}")


def _known(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.pk,
        "received_at": letter.received_at.isoformat(timespec="seconds"),
        "queue": _printable(letter.queue),
        "reason": _printable(letter.reason),
        "type": _printable(letter.type),
        "message_id": _printable(letter.message_id),
        "correlation_id": _printable(letter.correlation_id),
        "routing_key": _printable(letter.routing_key),
        "content_type": _printable(letter.content_type),
        "user_id": _printable(letter.user_id),
        "size": letter.size,
        "request_id": None if letter.request_id is None else str(letter.request_id),
        "settled_as": letter.settled_as or None,
        "settled_at": letter.settled_at and letter.settled_at.isoformat(timespec="seconds"),
        "settled_by": None if letter.settled_by is None else letter.settled_by.get_username(),
    }


def _content(letter: DeadLetter) -> dict[str, Any]:
    """The message, which holds no patient data; or why there is none. Never a stranger's bytes."""
    try:
        return {"message": message_of(letter).model_dump(mode="json", exclude_none=True)}
    except ContractError as exc:
        # It may name fields, and these are the sender's words.
        return {"unreadable": _printable(str(exc))}


def _line(letter: DeadLetter) -> str:
    known = _known(letter)
    about = f"request {known['request_id']}" if known["request_id"] else "no request"
    state = known["settled_as"] or "open"
    where = f"{known['reason'] or '?'} in {known['queue'] or '?'}"
    columns = (known["id"], known["received_at"], known["type"] or "?", where, about, state)
    return "\t".join(map(str, columns))


def _printable(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
