"""The Korean texts are complete, and the compiled file is the one of the source."""

from __future__ import annotations

import ast
import gettext
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
SOURCE = WEB / "locale" / "ko" / "LC_MESSAGES" / "django.po"
KEYWORD = re.compile(
    r'^(msgid|msgid_plural|msgstr(?:\[0\])?)((?: ?"(?:[^"\\]|\\.)*"\n?)+)', re.MULTILINE
)


def entries(path: Path) -> dict[str, str]:
    """Message and translation of each entry of a ``.po`` file, without its header."""
    found = {}
    for block in path.read_text("utf-8").split("\n\n"):
        texts = {
            key: "".join(ast.literal_eval(part) for part in re.findall(r'"(?:[^"\\]|\\.)*"', value))
            for key, value in KEYWORD.findall(block)
        }
        if texts.get("msgid"):
            found[texts["msgid"]] = texts.get("msgstr", texts.get("msgstr[0]", ""))
    return found


def test_nothing_is_untranslated_or_fuzzy():
    assert "fuzzy" not in SOURCE.read_text("utf-8")
    assert [message for message, text in entries(SOURCE).items() if not text] == []


def test_the_compiled_file_is_current():
    with SOURCE.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)

    for message, text in entries(SOURCE).items():
        plural = compiled.ngettext(message, message, 1)
        assert text in {compiled.gettext(message), plural}


def test_places_in_a_text_are_the_same_in_the_translation():
    places = re.compile(r"%\(\w+\)\w|\{\w+\}|</?\w+>")
    for message, text in entries(SOURCE).items():
        assert sorted(places.findall(message)) == sorted(places.findall(text)), message


def test_every_text_of_the_site_is_in_the_source(tmp_path):
    if shutil.which("xgettext") is None:
        pytest.fail("xgettext is missing: install the package gettext")
    shutil.copytree(WEB, tmp_path / "web", ignore=shutil.ignore_patterns("static", "__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "django", "makemessages", "-l", "ko", "-i", "migrations/*"],
        cwd=tmp_path / "web",
        check=True,
        capture_output=True,
    )

    extracted = entries(tmp_path / "web" / "locale" / "ko" / "LC_MESSAGES" / "django.po")

    assert set(extracted) == set(entries(SOURCE))
