"""``mri-web lab``: let a lab in, with all that the broker needs for it; list labs, take one out."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from messages import topology
from web.database import why_not_migrated
from web.labs import registry
from web.labs.models import Lab

#: Seconds that rabbitmqctl may take; an import takes two.
_CTL_SECONDS = 120.0

#: Where an operator puts a file for rabbitmqctl, whose wrapper changes directory and user.
_ETC = "/etc/rabbitmq"


class Command(BaseCommand):
    """The broker's part is a file of the operator's, or done here where rabbitmqctl runs."""

    help = "Let a lab in, list the labs, or take one out."

    def add_arguments(self, parser: CommandParser) -> None:
        """One word for what is to be done."""
        doing = parser.add_subparsers(dest="doing", required=True, metavar="add|list|remove")
        add = doing.add_parser("add", help="Confirm a lab, and make what it needs of the broker.")
        add.add_argument("name", help="Its LAB_NAME, which is its user of the broker as well.")
        add.add_argument("--pool", required=True, help="The pool that it may serve.")
        how = add.add_mutually_exclusive_group()
        how.add_argument(
            "--apply", action="store_true", help="Import it with rabbitmqctl on this machine."
        )
        how.add_argument(
            "--keep-user",
            action="store_true",
            help="Its user exists, and keeps its password: make all but that.",
        )
        how.add_argument(
            "--registered-only", action="store_true", help="Confirm it, and make nothing."
        )
        listed = doing.add_parser("list", help="The labs, and who asks to be let in.")
        listed.add_argument("--json", action="store_true", help="For programs.")
        remove = doing.add_parser("remove", help="Believe a lab no more.")
        remove.add_argument("name", help="As in the list.")

    @no_translations
    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it, or say in one sentence why not."""
        if problem := why_not_migrated():
            raise CommandError(f"{problem}; or another database is meant (VAR_DIR, DATABASE_URL)")
        match options["doing"]:
            case "add":
                self._add(options)
            case "list":
                self._list(as_json=options["json"])
            case "remove":
                self._remove(options["name"])

    def _add(self, options: dict[str, Any]) -> None:
        name, pool = options["name"], options["pool"]
        if name in _own_users():
            raise CommandError(f"{name} is this site's own user of the broker")
        known = registry.pool_of(name) is not None
        try:
            registry.confirm(name, pool)
        except registry.NotConfirmed as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{name} is confirmed for the pool {pool}.")
        if options["registered_only"]:
            return
        if options["keep_user"]:
            self._with_user(name, pool)
            return
        folder = _folder()
        file = folder / f"{name}.definitions.json"
        url_file = folder / f"{name}.url"
        password = _password_in(url_file)
        if password is None and known and options["apply"]:
            raise CommandError(
                f"{name} was let in before, and --apply would give it a new password: "
                f"--keep-user keeps the old one, mri-web lab remove {name} begins anew"
            )
        if password is None:
            password = secrets.token_urlsafe(32)
            _write(url_file, f"RABBITMQ_URL={_url(name, password)}\n")
        _write(file, json.dumps(topology.lab_definitions(name, pool, password), indent=2))
        self.stdout.write(
            f"Its setting is in {url_file}, readable by you alone; it looks like\n"
            f"  RABBITMQ_URL={_url(name, 'PASSWORD')}\n"
            "Take it to the lab, correct the host where the lab knows the broker by another, and "
            "delete it here."
        )
        if options["apply"]:
            _import(file)
            self.stdout.write("The broker has it.")
            file.unlink()
            return
        self._say_import(file, name)

    def _with_user(self, name: str, pool: str) -> None:
        file = _folder() / f"{name}.queues.json"
        _write(file, json.dumps(topology.definitions((pool,), {name: pool}), indent=2))
        self._say_import(file, name)
        may = topology.lab_permissions(name, pool)
        vhost = f"-p {topology.VHOST}"
        patterns = " ".join(f"'{may[right]}'" for right in ("configure", "write", "read"))
        self.stdout.write(
            "Then its rights, only once its program is the new one: an older one cannot work with "
            "them."
        )
        # No key of before stays allowed.
        self.stdout.write(f"  sudo rabbitmqctl clear_topic_permissions {vhost} {name}")
        self.stdout.write(f"  sudo rabbitmqctl set_permissions {vhost} {name} {patterns}")
        for topic in topology.lab_topic_permissions(name, pool):
            self.stdout.write(
                f"  sudo rabbitmqctl set_topic_permissions {vhost} {name} {topic['exchange']} "
                f"'{topic['write']}' '{topic['read']}'"
            )
        limits = json.dumps(dict(topology.USER_LIMITS))
        self.stdout.write(f"  sudo rabbitmqctl set_user_limits {name} '{limits}'")

    def _say_import(self, file: Path, name: str) -> None:
        there = f"{_ETC}/labrelay-{name}.json"
        self.stdout.write(
            "On the broker's machine (these paths are absolute: Debian's rabbitmqctl changes "
            "directory and user):\n"
            f"  sudo install -o root -g rabbitmq -m 640 {file} {there}\n"
            f"  sudo rabbitmqctl import_definitions {there}\n"
            f"  sudo rm {there}"
        )

    def _list(self, *, as_json: bool) -> None:
        labs = list(Lab.objects.all())
        if as_json:
            self.stdout.write(json.dumps([_known(lab) for lab in labs], indent=2))
            return
        for lab in labs:
            self.stdout.write("\t".join(_columns(lab)))
        if not labs:
            self.stderr.write("No lab is known: mri-web lab add NAME --pool POOL")

    def _remove(self, name: str) -> None:
        if not registry.forget(name):
            raise CommandError("there is no lab of that name")
        self.stdout.write(
            f"{name} is believed no more. Take its user from the broker too:\n"
            f"  sudo rabbitmqctl delete_user {name}\n"
            "Its control queues go with\n"
            f"  for n in $(seq {topology.CONTROL_QUEUES}); do sudo rabbitmqctl delete_queue "
            f"-p {topology.VHOST} mri.control.{name}.$n; done"
        )


def _known(lab: Lab) -> dict[str, Any]:
    return {
        "name": lab.name,
        "pool": lab.pool,
        "confirmed_at": lab.confirmed_at and lab.confirmed_at.isoformat(timespec="seconds"),
        "online": lab.online,
        "last_seen": lab.last_seen and lab.last_seen.isoformat(timespec="seconds"),
        "told_pool": lab.told_pool,
        "clock_s": None if lab.skew is None else round(lab.skew, 3),
    }


def _columns(lab: Lab) -> list[str]:
    if lab.confirmed_at is None:
        state = "to be confirmed"
    elif lab.conflict:
        state = f"names the pool {lab.told_pool}"
    else:
        state = "online" if lab.online else "offline"
    seen = "never heard" if lab.last_seen is None else lab.last_seen.isoformat(timespec="seconds")
    return [lab.name, lab.pool, state, seen]


def _own_users() -> set[str]:
    return {urlsplit(url).username or "" for url in settings.SITE.broker_urls}


def _url(name: str, password: str) -> str:
    """As the site reaches the broker: the lab may know it by another name."""
    parts = urlsplit(settings.SITE.broker_urls[0])
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{name}:{password}@{parts.hostname}{port}{parts.path}"


def _folder() -> Path:
    folder: Path = settings.SITE.var_dir.resolve() / "labs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _password_in(url_file: Path) -> str | None:
    """That of an earlier call: as long as its file lies here, it stays the lab's."""
    try:
        return urlsplit(url_file.read_text().strip().removeprefix("RABBITMQ_URL=")).password
    except (OSError, ValueError):
        return None


def _write(file: Path, text: str) -> None:
    """A file that only this user reads, from its first byte on."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)


def _import(file: Path) -> None:
    """By its input and not by its path, which rabbitmqctl may not be able to read."""
    try:
        with file.open("rb") as definitions:
            done = subprocess.run(
                ["rabbitmqctl", "-q", "import_definitions"],
                stdin=definitions,
                capture_output=True,
                timeout=_CTL_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise CommandError(f"rabbitmqctl does not run here ({type(exc).__name__})") from exc
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise CommandError(f"rabbitmqctl refused it: {said[-1] if said else done.returncode}")
