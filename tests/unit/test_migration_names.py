"""What a host project may not call its own: both guides against the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.local.settings import REPOSITORY

#: What ``pyproject.toml`` installs.
PACKAGES = {"consumer", "infra", "messages", "web"}


def brought() -> set[str]:
    """Packages, labels of applications, and commands."""
    web = REPOSITORY / "web"
    commands = {path.stem for path in (web / "management" / "commands").glob("[!_]*.py")}
    labels = {label for path in web.rglob("apps.py") for label in label_of(path)}
    return PACKAGES | labels | commands


def label_of(path: Path) -> list[str]:
    return re.findall(r'^    label = "(\w+)"', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("guide", "beginning"),
    [("migration.md", "- Labrelay brings"), ("migration.ko.md", "- Labrelay는 Python")],
)
def test_the_guide_names_all_that_a_project_may_not_call_its_own(
    guide: str, beginning: str
) -> None:
    text = (REPOSITORY / "docs" / guide).read_text()
    item = text.partition(beginning)[2].partition("\n- ")[0]
    assert set(re.findall(r"`([^`]+)`", item)) == brought()
