"""The units for systemd: clean, and in accord with what the programs do."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.liveness.systemd import WATCHDOG_SECONDS as LAB_SECONDS
from consumer.settings import LabSettings
from infra.local.settings import REPOSITORY
from web.systemd import WATCHDOG_SECONDS as WEB_SECONDS

UNITS = REPOSITORY / "infra" / "systemd"
LAB, WEB = "mri-inference-worker.service", "labrelay-web.service"

#: What an ExecStart begins with; the documents say how it comes to be there.
INSTALLED = "/opt/labrelay/venv/bin/"


def service(unit: str) -> dict[str, str]:
    """The section of that name; of a key that stands several times the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / unit)
    return dict(parser["Service"])


def environment(unit: str) -> dict[str, str]:
    lines = (UNITS / unit).read_text("utf-8").splitlines()
    pairs = [line.removeprefix("Environment=") for line in lines if line.startswith("Environment=")]
    return dict(pair.split("=", 1) for pair in pairs)


def test_systemd_finds_nothing_to_say_about_them(tmp_path: Path) -> None:
    # It wants to see the programs: those of this environment stand in for the installed ones.
    here = f"{Path(sys.executable).parent}/"
    for unit in (LAB, WEB):
        text = (UNITS / unit).read_text("utf-8")
        assert INSTALLED in text
        (tmp_path / unit).write_text(text.replace(INSTALLED, here))
    done = subprocess.run(
        ("systemd-analyze", "verify", "--man=no", str(tmp_path / LAB), str(tmp_path / WEB)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("unit", "seconds"), [(LAB, LAB_SECONDS), (WEB, WEB_SECONDS)])
def test_a_unit_waits_for_several_signs_of_life_before_it_starts_anew(
    unit: str, seconds: float
) -> None:
    section = service(unit)
    assert section["Type"] == "notify"
    assert section["Restart"] == "always"
    assert int(section["WatchdogSec"]) >= 10 * seconds
    assert section["EnvironmentFile"].startswith("/etc/labrelay/")


def test_a_stop_of_the_lab_waits_longer_than_the_longest_case() -> None:
    defaults = {name: field.default for name, field in LabSettings.model_fields.items()}
    # Reading, packaging and measuring are each a call of the reader, made twice where the first was
    # too slow.
    longest = 6 * defaults["reader_timeout_seconds"] + defaults["inference_timeout_seconds"]
    grace = int(environment(LAB)["STOP_GRACE_SECONDS"])
    assert longest < grace < int(service(LAB)["TimeoutStopSec"])
    # Children that end first would take the case with them.
    assert service(LAB)["KillMode"] == "mixed"


def test_no_unit_lets_an_image_of_a_patient_reach_a_disk() -> None:
    for unit in (LAB, WEB):
        assert service(unit)["LimitCORE"] == "1"
        assert service(unit)["NoNewPrivileges"] == "true"
    assert service(LAB)["MemorySwapMax"] == "0"


@pytest.mark.parametrize("unit", [LAB, WEB])
def test_units_write_lines_for_the_journal(unit: str) -> None:
    assert environment(unit)["LOG_FORMAT"] == "journal"
