"""``mri-web withdraw``: take a stored result back, for a reason."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from web.access.audit import Way
from web.access.caller import Caller
from web.access.grants import EVERYTHING
from web.database import why_not_migrated
from web.inference.models import InferenceRequest
from web.inference.withdraw import withdraw
from web.refusals import Refused


class Command(BaseCommand):
    """A result that is withdrawn stays so."""

    help = (
        "Withdraw a stored result: the pages, the API and the old calls say so, with the reason. "
        "Verdicts are kept. It cannot be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Which, why, and whether its objects go too."""
        parser.add_argument("request_id", type=UUID, nargs="+")
        parser.add_argument(
            "--reason", required=True, help="Whoever sees the study can read it: name no patient."
        )
        parser.add_argument(
            "--remove-objects",
            action="store_true",
            help="Remove the result's objects from the archive as well.",
        )

    @no_translations
    def handle(self, *_args: Any, **options: Any) -> None:
        """One sentence for each; those that can be withdrawn are, whatever the others are."""
        if problem := why_not_migrated():
            raise CommandError(f"{problem}; or another database is meant (VAR_DIR, DATABASE_URL)")
        staff = Caller(user=None, way=Way.COMMAND, address=None, scope=EVERYTHING)
        left = 0
        for request_id in dict.fromkeys(options["request_id"]):
            try:
                done = withdraw(
                    request_id, staff, options["reason"], objects_too=options["remove_objects"]
                )
            except InferenceRequest.DoesNotExist:
                sentence = "There is no such request."
            except Refused as exc:
                sentence = str(exc.message)
            else:
                kept = f"; {done.left_elsewhere} of its objects lie in another study and stay there"
                self.stdout.write(f"{request_id}: withdrawn{kept if done.left_elsewhere else ''}")
                continue
            left += 1
            self.stderr.write(f"{request_id}: {sentence}")
        if left:
            raise CommandError(f"not done: {left} of {len(set(options['request_id']))}")
