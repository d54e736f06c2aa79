"""Servers out of another Debian: what is looked for there, and what is said when it is no root."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local import debian_root, orthanc
from infra.local.process import ServiceFailed
from infra.local.settings import SettingsError
from tests import newer_servers


def test_without_another_root_a_command_is_started_as_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SERVERS_ROOT", raising=False)
    assert debian_root.inside(("epmd", "-names")) == ("epmd", "-names")


def test_a_directory_that_is_no_system_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SERVERS_ROOT", str(tmp_path))
    with pytest.raises(SettingsError, match="SERVERS_ROOT must be the root directory of a Debian"):
        debian_root.inside(("epmd",))


def test_a_plugin_is_looked_for_in_the_root_and_named_as_the_program_there_sees_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SERVERS_ROOT", str(tmp_path))
    (tmp_path / "usr").mkdir()
    with pytest.raises(ServiceFailed, match="orthanc-dicomweb"):
        orthanc.dicomweb_plugin()
    file = orthanc.DICOMWEB_PLUGINS[1]
    (tmp_path / file.relative_to("/")).parent.mkdir(parents=True)
    (tmp_path / file.relative_to("/")).touch()
    assert orthanc.dicomweb_plugin() == file


def test_what_is_missing_to_make_a_root_is_said_before_it_is_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # An empty directory: no program is found.
    monkeypatch.setenv("PATH", str(tmp_path))
    assert newer_servers.main(["trixie", "--rebuild", "--mirror", "http://127.0.0.1:1/"]) == 1
    said = capsys.readouterr()
    assert "It needs root, or user namespaces" in said.out
    assert said.err == "newer-servers: mmdebstrap is missing: apt-get install mmdebstrap\n"


def test_a_root_says_which_versions_it_holds(tmp_path: Path) -> None:
    status = tmp_path / "var" / "lib" / "dpkg" / "status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: orthanc\nVersion: 1.13.0+dfsg-1\n\n"
        "Package: rabbitmq-server\nDescription: AMQP\n of long: text\nVersion: 4.3.6-1\n"
    )
    assert newer_servers.versions(tmp_path) == "RabbitMQ 4.3.6-1, Orthanc 1.13.0+dfsg-1"
