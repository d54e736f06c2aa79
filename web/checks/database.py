"""The database: there, up to date, written to, with room; and the labs that it knows."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from messages.lab import OFFLINE_AFTER_SECONDS
from web.checks.line import Line, bad, ok, skipped, warned
from web.database import why_not_migrated
from web.inference.models import LettersBeyond
from web.labs.models import Lab
from web.labs.registry import confirmed, strangers

#: Bytes. Requests are small; SQLite needs as much again while it tidies up.
DISK_BYTES = 1024**3

_GIB = 1024**3

#: Lines about labs that nobody has confirmed, and senders of too many letters, that are shown.
_STRANGERS = 5

_MIGRATE = "run mri-web migrate as the user that the site runs as"


def check() -> Iterator[Line]:
    """The default database of the settings."""
    file = _file()
    if file is not None and not file.is_file():
        # Not opened: SQLite would make it, for whoever asks.
        yield bad("database", f"{file} does not exist", f"correct VAR_DIR, or {_MIGRATE}")
        yield from (skipped(noun, "database") for noun in ("migrations", "writing", "disk", "labs"))
        return
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        fix = "start it, or correct DATABASE_URL"
        yield bad("database", f"it cannot be opened ({type(error).__name__})", fix)
        yield from (skipped(noun, "database") for noun in ("migrations", "writing", "labs"))
        return
    yield ok("database", f"{connection.vendor} answers")
    problem = why_not_migrated()
    if problem is not None:
        yield bad("migrations", "some are missing", _MIGRATE)
        yield from (skipped(noun, "migrations") for noun in ("writing", "labs"))
    else:
        yield ok("migrations", "all are applied")
        yield _writes(file)
        yield from _labs()
        yield from _letters()
    if file is not None:
        yield _room(file)


def ready() -> bool:
    """Whether its tables can be asked; never makes a file of SQLite's."""
    file = _file()
    if file is not None and not file.is_file():
        return False
    try:
        connection.ensure_connection()
    except DatabaseError:
        return False
    return why_not_migrated() is None


def _file() -> Path | None:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name)


def _writes(file: Path | None) -> Line:
    """Write a row and take it back, all in one transaction."""
    try:
        with transaction.atomic():
            Lab.objects.create(
                name="labrelay check",
                pool="",
                device="",
                models=[],
                current=[],
                last_seen=timezone.now(),
            )
            transaction.set_rollback(True)
    except DatabaseError as error:
        place = f"{file} and its folder" if file else "its tables"
        return bad(
            "writing",
            f"nothing can be written ({type(error).__name__})",
            f"the site's user must be able to write {place}",
        )
    return ok("writing", "a row was written and taken back")


def _labs() -> Iterator[Line]:
    """Those that are confirmed, heard or not; what is wrong with one; and who asks to be let in."""
    labs = list(confirmed())
    online = [lab for lab in labs if lab.online]
    offline = [lab for lab in labs if not lab.online]
    if not labs:
        yield warned(
            "labs",
            "none is confirmed yet",
            "mri-web lab add NAME --pool POOL, and start mri-consumer run there",
        )
    if online:
        yield ok("labs", f"{_listed(online)} online")
    if offline:
        yield warned(
            "labs",
            f"{_listed(offline)} not heard for {OFFLINE_AFTER_SECONDS} s or more",
            "start mri-consumer run there, or look at its log; this site must run to hear it",
        )
    for lab in labs:
        if lab.conflict:
            text = f"{lab.name} belongs to the pool {lab.pool} and says {lab.told_pool}"
            yield bad("labs", text, "correct its LAB_POOL; until then nothing it serves is offered")
        if lab.clock_is_wrong:
            way = "behind" if (lab.skew or 0) > 0 else "ahead of"
            text = f"the clock of {lab.name} is {abs(lab.skew or 0):.0f} s {way} this site's"
            yield bad("labs", text, "set it, and this machine's (timedatectl)")
    for lab in strangers()[:_STRANGERS]:
        text = f"{lab.name} asks to be let in, for the pool {lab.told_pool or lab.pool}"
        fix = f"mri-web lab add {lab.name} --pool POOL, if it is yours"
        yield warned("labs", text, fix)


def _listed(labs: Iterable[Lab]) -> str:
    return ", ".join(f"{lab.name} ({lab.pool})" for lab in labs)


def _letters() -> Iterator[Line]:
    beyond = list(LettersBeyond.objects.all()[:_STRANGERS])
    if beyond:
        senders = ", ".join(f"{more.count} of {more.sender!a}" for more in beyond)
        fix = "look at that lab, then at mri-web dead_letters list"
        yield bad("letters", f"too many to be kept: {senders}", fix)


def _room(file: Path) -> Line:
    free = shutil.disk_usage(file.parent).free
    text = f"{free / _GIB:.1f} GiB free on {file.parent}"
    if free < DISK_BYTES:
        return bad("disk", text, f"free {DISK_BYTES / _GIB:.0f} GiB or more there")
    return ok("disk", text)
