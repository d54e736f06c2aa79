"""``mri-web check``: Django's own checks, and those of this installation."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser, SystemCheckError
from django.core.management.commands.check import Command as SystemChecks

from web.checks.checklist import checklist
from web.checks.line import State


class Command(SystemChecks):
    """Asked for some apps or tags only, it is Django's command and nothing more.

    So it is in a host's project too, whose own checks must not need a broker, unless asked for by
    ``--installation``.
    """

    help = "Look at everything that this site needs; exit 1 when something must be mended."

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's own, and one more."""
        super().add_arguments(parser)
        parser.add_argument(
            "--installation",
            action="store_true",
            help="Look at broker, database and archive in a project of another name too.",
        )

    def handle(self, *app_labels: Any, **options: Any) -> None:
        """Run both; the second also when the first finds something."""
        wanted = options.pop("installation") or settings.SETTINGS_MODULE == "web.settings"
        if app_labels or options["tags"] or options["list_tags"] or not wanted:
            super().handle(*app_labels, **options)
            return
        problem: CommandError | None = None
        try:
            super().handle(*app_labels, **options)
        except SystemCheckError as error:
            problem = error
        # The lines say it all; what the parts log meanwhile would stand between them.
        logging.disable(logging.CRITICAL)
        found = 0
        try:
            for line in checklist():
                found += line.state is State.BAD
                self.stdout.write(str(line), self._style(line.state))
        finally:
            logging.disable(logging.NOTSET)
        if problem is not None:
            raise problem
        if found:
            raise CommandError(f"{found} of these must be mended")

    def _style(self, state: State) -> Any:
        styles = {
            State.OK: self.style.SUCCESS,
            State.WARNED: self.style.WARNING,
            State.BAD: self.style.ERROR,
        }
        return styles.get(state)
