"""`mri-web` on a database that is not there yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.local.settings import child_environment

REPOSITORY = Path(__file__).parents[2]


def test_a_command_without_a_database_ends_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "web.cli", "token", "list"),
        env=child_environment({"VAR_DIR": str(tmp_path), "SECRET_KEY": "s" * 40}),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "was mri-web migrate run?" in done.stderr
    assert "Traceback" not in done.stderr
