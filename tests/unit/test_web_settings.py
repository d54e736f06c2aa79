"""The environment is checked at start, and a wrong value is one sentence that quotes none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from web.configuration import SettingsError, SiteSettings, load


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEB_PORT", "eighty"),
        ("WEB_PORT", "70000"),
        ("RABBITMQ_URL", "http://web:secret@127.0.0.1/mri"),
        ("RABBITMQ_URL", "amqp://web:secret@127.0.0.1:5673/mri,amqp://secret"),
        ("ORTHANC_URL", "127.0.0.1:8043"),
        ("USE_LOCAL_INFERENCE", "secret"),
        ("DEFAULT_MODEL", "../secret"),
        ("SECRET_KEY", "secret"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_name_and_without_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load()
    assert name in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_database_without_migrations_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "VAR_DIR": str(tmp_path)}  # noqa: TID251 - the child needs PATH
    environment |= {"DATABASE_URL": "", "SECRET_KEY": "s" * 50, "DEBUG": "true"}
    command = (sys.executable, "-m", "web.cli", "serve")
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "the site cannot start: migrations are missing: run mri-web migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_start_stops_with_that_sentence_and_no_traceback() -> None:
    command = (sys.executable, "-m", "web.cli", "check")
    wrong = {**os.environ, "WEB_PORT": "x"}  # noqa: TID251 - the child needs PATH
    done = subprocess.run(command, env=wrong, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("the site cannot start: WEB_PORT")
    assert "Traceback" not in done.stderr


def test_serving_needs_a_secret_key() -> None:
    command = (sys.executable, "-m", "web.cli", "serve")
    bare = {k: v for k, v in os.environ.items() if k != "SECRET_KEY"}  # noqa: TID251
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "SECRET_KEY is missing" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DEBUG": "true", "HTTPS_ONLY": "true"}, "DEBUG is true"),
        ({"RUN_BROKER_TASKS": "false"}, "RUN_BROKER_TASKS is false"),
    ],
)
def test_what_would_serve_badly_does_not_serve(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in {"SECRET_KEY": "s" * 50, **variables}.items():
        monkeypatch.setenv(name, value)
    assert (load().why_not_serve() or "").startswith(named)


def test_passwords_do_not_show_when_the_settings_are_printed() -> None:
    site = SiteSettings(rabbitmq_url="amqp://web:secret@127.0.0.1:5673/mri")
    assert "secret@" not in repr(site)
    assert site.broker_urls == ("amqp://web:secret@127.0.0.1:5673/mri",)
