"""`python -m infra.demo.web …`: mri-web with the settings that the demo gave its site."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.demo.stack import WEB_SETTINGS
from infra.local.settings import REPOSITORY, VAR, child_environment


def main(arguments: Sequence[str], root: Path = VAR) -> int:
    """Pass the arguments on as they are and return mri-web's exit status; 1 without a demo.

    The demo need not run: its database is there without it.
    """
    file = root / WEB_SETTINGS
    try:
        settings = json.loads(file.read_text("utf-8"))
    except OSError as error:
        print(
            f"There is no demo here yet: `make demo` makes one ({file}: {error.strerror}).",
            file=sys.stderr,
        )
        return 1
    command = (sys.executable, "-m", "web.cli", *arguments)
    try:
        return subprocess.run(
            command, env=child_environment(settings), cwd=REPOSITORY, check=False
        ).returncode
    except KeyboardInterrupt:
        # It has heard the same Ctrl-C, and has ended by now.
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
