"""``mri-web retire_topology``: take away the exchanges and queues of the version before."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messages.topology import POOLS
from web.broker.errors import BrokerProblem
from web.broker.retire import LOOKS, PAUSE_SECONDS, retire
from web.labs.models import Lab


class Command(BaseCommand):
    """Once every lab is of this version, and while the site is stopped, nothing uses them.

    While messages lie there, or somebody listens, it stops. `infra/rabbitmq/UPGRADE.md` has the
    order of an upgrade.
    """

    help = "Delete the exchanges and queues of the version before, if they are empty."

    def add_arguments(self, parser: CommandParser) -> None:
        """The administrator's address, which holds a password and so stands in no argument."""
        parser.add_argument(
            "url_file",
            help="File with the amqp:// address of a user who may delete, or - for standard input.",
        )
        parser.add_argument(
            "--pause",
            type=float,
            default=PAUSE_SECONDS,
            help=f"Seconds between two of {LOOKS} looks at the queues (default: %(default)s).",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it, or say in one sentence why not."""
        url = _url(options["url_file"])
        pools = dict.fromkeys([*POOLS, *Lab.objects.values_list("pool", flat=True)])
        try:
            deleted = asyncio.run(retire(url, pools, pause=options["pause"]))
        except BrokerProblem as exc:
            raise CommandError(str(exc)) from exc
        for name in deleted:
            self.stdout.write(f"deleted {name}")
        if not deleted:
            self.stdout.write("there was nothing of the version before")


def _url(file: str) -> str:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{file} cannot be read") from None
    url = text.strip()
    if not url.startswith(("amqp://", "amqps://")) or "\n" in url:
        raise CommandError("the file must hold one amqp:// or amqps:// address")
    return url
