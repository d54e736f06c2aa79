"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.local.settings import REPOSITORY

DOCUMENTS = sorted([*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").rglob("*.md")])

LINK = re.compile(r"\]\(([^)\s]+)\)")

#: A path in the repository: of one of its folders, with a file's name at its end.
NAMED = re.compile(
    r"`((?:benchmarks|consumer|docs|infra|messages|tests|web)/[\w./-]*\.(?:json|md|py|sh|toml))`"
)

HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings: lower case, hyphens for spaces, no other marks."""
    found = {re.sub(r"[^\w\- ]", "", one.lower()).strip() for one in HEADING.findall(text)}
    return {one.replace(" ", "-") for one in found}


def missing(document: Path) -> list[str]:
    text = document.read_text("utf-8")
    found = [name for name in NAMED.findall(text) if not (REPOSITORY / name).exists()]
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or path.startswith("/"):
            continue
        target = document.parent / path if path else document
        if not target.exists():
            found.append(link)
            continue
        if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8")):
            found.append(link)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: str(one.relative_to(REPOSITORY)))
def test_every_relative_link_and_path_exists(document: Path) -> None:
    assert missing(document) == []


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text(
        "# One `two` heading\n[a](#one-two-heading) [b](#other) [c](y.md) [d](https://a.example/b)\n"
        "`web/nothing.py`\n"
    )
    assert missing(document) == ["web/nothing.py", "#other", "y.md"]
