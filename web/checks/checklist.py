"""The whole list of a site."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from django.conf import settings
from django.db import DatabaseError

from messages.topology import POOLS
from web.checks import archive, broker, database, results
from web.checks.line import Line, bad, note, ok
from web.labs import registry


def checklist() -> Iterator[Line]:
    """Every line of the list. Never raises: a check that breaks is a line too."""
    site = settings.SITE
    yield from _guarded("settings", _settings)
    yield from _guarded("database", database.check)
    yield from _guarded("broker", lambda: asyncio.run(broker.check(site.broker_urls, _pools())))
    yield from _guarded(
        "archive",
        lambda: archive.check(
            site.orthanc_url, site.orthanc_user, site.orthanc_password.get_secret_value()
        ),
    )
    yield from _guarded(
        "newest result",
        lambda: results.check(
            site.orthanc_url, site.orthanc_user, site.orthanc_password.get_secret_value()
        ),
    )


def _pools() -> tuple[str, ...]:
    try:
        return registry.pools()
    except DatabaseError:
        # The line of the database says so.
        return POOLS


def _settings() -> Iterator[Line]:
    problem = settings.SITE.why_not_serve()
    if problem is None:
        hosts = ", ".join(settings.ALLOWED_HOSTS)
        yield ok("settings", f"SECRET_KEY is set, the site answers to {hosts}")
    else:
        what, _, fix = problem.partition(": ")
        yield bad("settings", what, f"{fix}, for example from: openssl rand -base64 48")
    if settings.SITE.wait_for_whole_series:
        yield ok("arriving series", "a request waits until the archive calls its series stable")
    else:
        # Somebody has decided so: nothing to mend.
        text = "not waited for (WAIT_FOR_WHOLE_SERIES is false): analysed with what is there"
        yield note("arriving series", text)


def _guarded(noun: str, check: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - an engineer gets a line, never a traceback
        # The text is left out: it may quote a URL with its password.
        yield bad(noun, f"the check broke ({type(error).__name__})", "report this as a fault")
