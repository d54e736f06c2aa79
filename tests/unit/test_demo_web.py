"""`make web`: mri-web with the demo's own settings."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.demo import web
from infra.demo.stack import WEB_SETTINGS
from infra.local.settings import REPOSITORY, child_environment


def test_without_a_demo_it_says_what_makes_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert web.main(["check"], tmp_path) == 1
    assert capfd.readouterr().err.startswith("There is no demo here yet: `make demo` makes one (")


def test_the_command_runs_with_the_settings_of_the_demos_site_and_its_status_is_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"SECRET_KEY": "k" * 40, "VAR_DIR": str(tmp_path / "web")}
    (tmp_path / WEB_SETTINGS).write_text(json.dumps(settings))
    # The user's shell may hold the settings of another site.
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "other"))

    assert web.main(["migrate", "--verbosity", "0"], tmp_path) == 0
    assert (tmp_path / "web" / "web.sqlite3").exists()
    assert not (tmp_path / "other").exists()

    assert web.main(["check"], tmp_path) == 1
    assert "✗ broker" in capfd.readouterr().out


def test_the_make_target_hands_its_arguments_on() -> None:
    said = subprocess.run(
        ("make", "-n", "web", "ARGS=dead_letters list"),
        cwd=REPOSITORY,
        # Not below the make that runs the tests: it would announce its folder.
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == ".venv/bin/python -m infra.demo.web dead_letters list"
