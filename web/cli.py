"""``mri-web``: the site's manage.py."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> None:
    """Run a Django command: ``migrate``, ``createsuperuser``, ``serve`` and the others."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "web.settings")  # noqa: TID251 - as Django wants
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError

    from web.settings import SITE

    # The default database lies there, and SQLite creates a file but no directory.
    SITE.var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        execute_from_command_line(["mri-web", *(sys.argv[1:] if arguments is None else arguments)])
    except (OperationalError, ProgrammingError) as error:
        # Its text may quote what was to be stored.
        sys.exit(
            f"mri-web: the database cannot be used ({type(error).__name__}). Is it the one that "
            "VAR_DIR or DATABASE_URL names, and was mri-web migrate run?"
        )


if __name__ == "__main__":
    main()
