"""Starts a world, and looks at its end that nothing of it is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.demo.stack import LAB, Ports, Stack
from infra.local.passwords import stored_passwords
from infra.local.process import ServiceFailed
from messages import topology
from tests.asks_at_once import ASKS_AT_ONCE
from tests.faults.archive_door import ArchiveDoor
from tests.faults.left_behind import left_behind
from tests.faults.link import Link
from tests.faults.world import OTHER_LAB, World
from tests.integration.lab import HeldBundle

#: Seconds for the site to answer after a start: it shares the machine with all others here, and
#: how long a start takes is not what a row shows.
WEB_SECONDS = 180.0


@contextmanager
def running_world(
    root: Path,
    say: Callable[[str], None],
    *,
    kind: Callable[..., World] = World,
    lab_module: str = "consumer",
    web_settings: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """Start everything; stop everything at the end. `kind` makes the world of its parts,
    and `lab_module` runs as its labs.

    Raises `ServiceFailed` when something does not start, or when something is left at the end.
    """
    temporary = temporary_directory(root)
    with ExitStack() as open_:
        ports = Ports.free()
        door = open_.enter_context(ArchiveDoor(ports.orthanc))
        links = {
            "site": open_.enter_context(Link(ports.amqp)),
            "lab": open_.enter_context(Link(ports.amqp)),
            "archive": open_.enter_context(Link(door.port)),
        }
        passwords = stored_passwords(root / "var" / "secrets.json", ["web", LAB])
        bundle = HeldBundle(root)
        stack = Stack(
            root / "var",
            ports,
            model_path=bundle.path,
            further_labs={OTHER_LAB: "lab"},
            lab_module=lab_module,
            web_settings={
                "RABBITMQ_URL": _url("web", passwords["web"], links["site"].port),
                **ASKS_AT_ONCE,
                **(web_settings or {}),
            },
            lab_settings={
                "RABBITMQ_URL": _url(LAB, passwords[LAB], links["lab"].port),
                "ORTHANC_URL": f"http://127.0.0.1:{links['archive'].port}",
                "TMPDIR": str(temporary),
            },
            web_seconds=WEB_SECONDS,
        )
        with stopped_at_the_end(stack, root):
            stack.start(say)
            world = kind(stack, bundle, links, door)
            try:
                yield world
            finally:
                world.close()


def temporary_directory(root: Path) -> Path:
    """TMPDIR of the labs of a world, made."""
    temporary = root / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return temporary


@contextmanager
def stopped_at_the_end(stack: Stack, root: Path) -> Iterator[None]:
    """Stop the stack after the block; raises `ServiceFailed` when something is left then."""
    try:
        yield
    finally:
        stack.stop()
    if found := left_behind(root, []):
        raise ServiceFailed("; ".join(found))


def _url(user: str, password: str, port: int) -> str:
    return f"amqp://{user}:{password}@127.0.0.1:{port}/{topology.VHOST}"
