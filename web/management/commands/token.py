"""``mri-web token``: make, list and revoke the bearer tokens of machines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from web.access.models import ApiToken
from web.access.tokens import issue

#: Characters of the column that holds a token's name.
MAX_NAME = 80


class Command(BaseCommand):
    """A token acts as its user: it sees what the user sees, and ends with the user."""

    help = "Make, list and revoke API tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        """One word for what is to be done."""
        doing = parser.add_subparsers(dest="doing", required=True, metavar="create|list|revoke")
        create = doing.add_parser("create", help="Make a token and print it, this once.")
        create.add_argument("user", help="Name of the user whom the token stands for.")
        create.add_argument("name", help="What it is for.")
        create.add_argument("--days", type=int, help="Days that it is valid; without: no end.")
        listed = doing.add_parser("list", help="Every token, without what a machine presents.")
        listed.add_argument("user", nargs="?", help="Only those of this user.")
        revoke = doing.add_parser("revoke", help="End a token at once.")
        revoke.add_argument("id", type=int, help="Its number in the list.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it, or say in one sentence why not."""
        match options["doing"]:
            case "create":
                self._create(options["user"], options["name"], options["days"])
            case "list":
                self._list(options["user"])
            case "revoke":
                self._revoke(options["id"])

    def _create(self, username: str, name: str, days: int | None) -> None:
        users = get_user_model()
        try:
            user = users.objects.get_by_natural_key(username)
        except users.DoesNotExist:
            raise CommandError("there is no user of that name") from None
        if not 0 < len(name) <= MAX_NAME:
            raise CommandError(f"the name must have 1 to {MAX_NAME} characters")
        if days is not None and not 0 < days <= 36_500:
            raise CommandError("--days must lie between 1 and 36500")
        until = None if days is None else timezone.now() + timedelta(days=days)
        # Alone on its line, so that a script can take it.
        self.stdout.write(issue(user, name, until))
        self.stderr.write("This is shown only once.")

    def _list(self, username: str | None) -> None:
        tokens = ApiToken.objects.select_related("user")
        if username is not None:
            tokens = tokens.filter(**{f"user__{get_user_model().USERNAME_FIELD}": username})
        for token in tokens:
            ends = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "no end"
            used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
            self.stdout.write(
                f"{token.pk}\t{token.user.get_username()}\t{token.name}\t{ends}\tlast used {used}"
            )

    def _revoke(self, token_id: int) -> None:
        deleted, _ = ApiToken.objects.filter(pk=token_id).delete()
        if not deleted:
            raise CommandError("there is no token of that number")
        self.stdout.write("revoked")
