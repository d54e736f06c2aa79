"""The whole list of a lab, in the order in which things depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from consumer import bootstrap, settings
from consumer.checks import archive, broker, children, models, room
from consumer.checks.line import Line, bad, ok, skipped
from consumer.sandbox.kernel import keep_memory_private
from consumer.settings import LabSettings, SettingsInvalid

_LATER = ("broker", "archive", "model", "device", "children", "memory")


def checklist(*, load: bool, store: bool) -> Iterator[Line]:
    """Every line of the list. Never raises: a check that breaks is a line too."""
    try:
        found = settings.load()
    except SettingsInvalid as error:
        fix = "correct it in the environment, or in the unit's EnvironmentFile (.env.example)"
        yield bad("settings", str(error), fix)
        yield from (skipped(noun, "settings") for noun in _LATER)
        return
    # Children are looked at that must not see it: as a lab, before any begins.
    with suppress(OSError):
        keep_memory_private()
    yield ok("settings", f"lab {found.lab_name}, pool {found.lab_pool}, device {found.device}")
    yield from _guarded("broker", lambda: broker.check(found))
    yield from _guarded(
        "archive",
        lambda: archive.check(bootstrap.archive_of(found), lab=found.lab_name, store=store),
    )
    yield from _guarded("model", lambda: _models(found, load=load))
    yield from _guarded("children", lambda: children.check(found))
    largest = room.largest_request(found)
    yield from _guarded("memory", lambda: room.check(found.model_path, largest=largest))


def _models(found: LabSettings, *, load: bool) -> Iterator[Line]:
    usable, lines = models.check_bundles(found.model_path)
    yield from lines
    if load:
        with bootstrap.workbench(found) as bench:
            yield from models.check_device(bench, usable, found.device)


def _guarded(noun: str, check: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - an engineer gets a line, never a traceback
        # The text is left out: it may quote a URL with its password.
        yield bad(noun, f"the check broke ({type(error).__name__})", "report this as a fault")
