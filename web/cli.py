"""``mri-web``: the site's manage.py."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Run a Django command: ``migrate``, ``createsuperuser``, ``serve`` and the others."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - as Django wants
    from django.core.management import execute_from_command_line

    from web.settings import SITE

    # The default database lies there, and SQLite creates a file but no directory.
    SITE.var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    execute_from_command_line(["mri-web", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    main()
