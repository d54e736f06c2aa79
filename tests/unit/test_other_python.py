"""`make other-python` says which Pythons it takes, and what runs on them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from infra.local.settings import REPOSITORY, VAR
from infra.local.steps import SetupError
from infra.pins.renew import PYTHONS
from tests import other_python


def test_a_python_without_pins_is_one_sentence() -> None:
    with pytest.raises(SetupError, match=r"^this is Python 3\.10, and the pins are for 3\.11, "):
        other_python.environment((3, 10))
    assert other_python.environment((3, 13)) == VAR / "python3.13"


def test_the_unit_and_contract_parts_run_unless_others_are_named() -> None:
    python = Path("/x/bin/python")
    whole = other_python.tests_on(python, ["-x"])
    assert whole[:3] == ("/x/bin/python", "-m", "pytest")
    assert whole[-3:] == ("-x", "tests/unit", "tests/contract")
    part = other_python.tests_on(python, ["-n0", "tests/unit/test_job.py"])
    assert part[-2:] == ("-n0", "tests/unit/test_job.py")
    assert "3" not in part


def test_the_project_takes_the_pythons_that_have_pins_and_no_other() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    lowest, highest = PYTHONS[0], int(PYTHONS[-1].partition(".")[2])
    assert project["requires-python"] == f">={lowest},<3.{highest + 1}"
