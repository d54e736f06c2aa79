"""Several readers of a site: one alone may not open a thousand sockets in a minute."""

from __future__ import annotations

import sys

from infra.demo.reader import Reader
from infra.local.process import wait_until
from tests.faults.world import PATIENCE, World

#: How many there are.
COUNT = 10


def readers(world: World, port: int) -> list[Reader]:
    """Log each of them in, by this port of the site; the end of the row closes them."""
    made = world.stack.site(("tests.faults.readers",), {"READERS": world.stack.page_password})
    made.start()
    try:
        wait_until(lambda: not made.alive, "make the readers", PATIENCE)
    finally:
        made.stop()
    url, password = f"http://127.0.0.1:{port}", world.stack.page_password
    for name in names():
        world.visitors.append(Reader(url, name, password))
    return world.visitors[-COUNT:]


def names() -> list[str]:
    """Their user names."""
    return [f"reader{number}" for number in range(COUNT)]


def _make() -> None:
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - Django's way
    import django

    django.setup()
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Group, User

    # Hashed once: each hash costs on purpose.
    password = make_password(os.environ["READERS"])  # noqa: TID251 - handed over by the test
    everybody = Group.objects.get(name="readers")
    for name in names():
        user, _ = User.objects.update_or_create(username=name, defaults={"password": password})
        user.groups.add(everybody)


if __name__ == "__main__":
    sys.exit(_make())
