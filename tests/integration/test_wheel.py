"""What is installed is whole: a wheel, unpacked far from the checkout, serves pages and a lab.

The extras' own packages are those of this environment; `tests/unit/test_extras.py` shows that each
side needs none but its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.local.settings import REPOSITORY, child_environment

#: Not part of a checkout.
IGNORED = shutil.ignore_patterns(".*", "var", "build", "*.egg-info", "__pycache__")

SITE = """
import sys; sys.path.insert(0, sys.argv[1])
import web
assert web.__file__.startswith(sys.argv[1]), web.__file__
from web.cli import main
main(["migrate", "--verbosity", "0"])
from django.test import Client
from django.contrib.staticfiles import finders
page = Client(headers={"Accept-Language": "ko"}).get("/login/")
assert page.status_code == 200 and "로그인" in page.content.decode(), page.content
assert Client().get("/nothing/").status_code == 404
assert finders.find("labrelay/study.js").startswith(sys.argv[1])
assert Client().get("/api/v1/openapi.json").status_code == 200
"""

LAB = """
import sys; sys.path.insert(0, sys.argv[1])
import consumer
assert consumer.__file__.startswith(sys.argv[1]), consumer.__file__
from consumer.__main__ import main
sys.argv = ["mri-consumer", "check", "--no-load"]
main()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPOSITORY, folder / "source", ignore=IGNORED)
    subprocess.run(
        (
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")),
        ),
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "installed")
    return folder / "installed"


def run(
    script: str, installed: Path, cwd: Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", script, str(installed)),
        cwd=cwd,
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_site_has_its_pages_texts_scripts_and_migrations(
    installed: Path, tmp_path: Path
) -> None:
    done = run(SITE, installed, tmp_path, VAR_DIR=str(tmp_path), ALLOWED_HOSTS="testserver")
    assert done.returncode == 0, done.stderr


def test_the_lab_has_its_bundle_and_says_what_it_lacks(installed: Path, tmp_path: Path) -> None:
    done = run(
        LAB,
        installed,
        tmp_path,
        RABBITMQ_URL="amqp://lab1:secret@127.0.0.1:9/mri",
        ORTHANC_URL="http://127.0.0.1:9",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert any("breast_dce_phantom" in line and line.startswith("✓") for line in lines), lines
    assert any(line.startswith("✗ broker") for line in lines), lines
    assert any(line.startswith("✗ archive") for line in lines), lines
    assert "secret" not in done.stdout + done.stderr


def test_the_files_for_operators_come_along(installed: Path) -> None:
    for file in (
        "infra/systemd/mri-inference-worker.service",
        "infra/systemd/labrelay-web.service",
        "infra/rabbitmq/definitions.json",
        "messages/schemas/inference.requested.v1.json",
    ):
        assert (installed / file).is_file(), file
