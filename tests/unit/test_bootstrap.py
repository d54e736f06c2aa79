"""The set-up: what it decides, without installing anything."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.demo import bootstrap
from infra.demo.packages import APT_SCRIPT, DEMO_PACKAGES, apt_command, missing_packages
from infra.local.settings import LocalSettings, SettingsError, load


def install_with_stub(tmp_path: Path, *, exit_status: int) -> tuple[int, Path]:
    """Run the install script with an apt-get that records whether a policy stands."""
    policy = tmp_path / "policy-rc.d"
    stub = tmp_path / "apt-get"
    stub.write_text(f"#!/bin/sh\ncat {policy} > {tmp_path}/seen\nexit {exit_status}\n")
    stub.chmod(0o755)
    script = APT_SCRIPT.replace("/usr/sbin/policy-rc.d", str(policy))
    command = ("sh", "-c", script, "labrelay", "some-package")
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=False
    )
    return done.returncode, policy


def test_another_python_than_3_11_is_one_sentence() -> None:
    bootstrap.require_version((3, 11))
    with pytest.raises(bootstrap.SetupError, match=r"^Python 3\.11 is needed and this is 3\.12;"):
        bootstrap.require_version((3, 12))


def test_an_unknown_part_is_one_sentence() -> None:
    with pytest.raises(bootstrap.SetupError, match="knows demo and test, not 'web'"):
        bootstrap.require_known("web")


def test_the_stamp_is_current_for_the_same_inputs_and_for_what_it_holds(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp.json"
    wanted = bootstrap.fingerprint(b"pyproject", b"pins", "torch==2.13.0", "")
    assert not bootstrap.is_current("demo", wanted, stamp)

    stamp.write_text(json.dumps({"fingerprint": wanted, "extra": "test"}))
    assert bootstrap.is_current("test", wanted, stamp)
    assert bootstrap.is_current("demo", wanted, stamp)
    assert not bootstrap.is_current("demo", "another", stamp)

    stamp.write_text(json.dumps({"fingerprint": wanted, "extra": "demo"}))
    assert not bootstrap.is_current("test", wanted, stamp)


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}", '{"fingerprint": "x"}'])
def test_a_broken_stamp_is_no_stamp(tmp_path: Path, broken: str) -> None:
    stamp = tmp_path / "stamp.json"
    stamp.write_text(broken)
    assert not bootstrap.is_current("demo", "x", stamp)


def test_the_fingerprint_changes_with_each_input() -> None:
    made = {
        bootstrap.fingerprint(*parts)
        for parts in (("ab", "c"), ("a", "bc"), ("ab", "c", ""), (b"ab", b"d"))
    }
    assert len(made) == 4


def test_missing_packages_are_found_by_their_files(tmp_path: Path) -> None:
    assert missing_packages("demo", root=tmp_path) == tuple(DEMO_PACKAGES)
    for file in DEMO_PACKAGES.values():
        path = tmp_path / file.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    assert missing_packages("demo", root=tmp_path) == ()
    assert "chromium" in missing_packages("test", root=tmp_path)
    assert missing_packages("demo", with_venv=True, root=tmp_path) == ("python3.11-venv",)
    assert apt_command(("orthanc", "dcmtk")) == "sudo apt-get install orthanc dcmtk"


@pytest.mark.parametrize("exit_status", [0, 100])
def test_no_service_is_started_while_packages_install(tmp_path: Path, exit_status: int) -> None:
    status, policy = install_with_stub(tmp_path, exit_status=exit_status)

    assert status == exit_status
    assert (tmp_path / "seen").read_text().endswith("exit 101\n")
    assert not policy.exists()


def test_a_policy_of_the_machine_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text("#!/bin/sh\nexit 0\n")
    _, policy = install_with_stub(tmp_path, exit_status=0)
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_ports_come_from_the_environment_and_a_wrong_one_is_one_sentence() -> None:
    assert load({}) == LocalSettings()
    assert load({"WEB_PORT": "9000", "TORCH_INDEX": "x"}).web_port == 9000
    for wrong in ("web", "0", "65536", "-1"):
        with pytest.raises(SettingsError, match="WEB_PORT must be a port number from 1 to 65535"):
            load({"WEB_PORT": wrong})
