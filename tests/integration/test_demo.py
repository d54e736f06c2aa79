"""``make demo`` as a person starts and stops it, under a directory of the test's own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from infra.local.ports import free_ports
from infra.local.process import wait_until
from infra.local.settings import REPOSITORY, child_environment

PORTS = ("WEB_PORT", "AMQP_PORT", "RABBIT_DIST_PORT", "EPMD_PORT", "ORTHANC_PORT")

#: Seconds for the first start, which also simulates a study.
FIRST_START = 300.0


class Demo:
    """The demo's process and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_ready(self) -> re.Match[str]:
        line = re.compile(r"^Labrelay is ready: (\S+)  user (\S+)  password (\S+)$", re.MULTILINE)

        def ready() -> bool:
            assert self.process.poll() is None, self.text
            return line.search(self.text) is not None

        wait_until(ready, "say that it is ready", FIRST_START)
        found = line.search(self.text)
        assert found is not None
        return found

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=120)


@contextmanager
def running_demo(root: Path, ports: dict[str, str]) -> Iterator[Demo]:
    output = root.with_suffix(".out")
    with output.open("wb") as file:
        process = subprocess.Popen(
            (sys.executable, "-m", "infra.demo.up", str(root)),
            stdout=file,
            stderr=subprocess.STDOUT,
            env=child_environment(ports),
            cwd=REPOSITORY,
            start_new_session=True,
        )
    try:
        yield Demo(process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


@pytest.fixture
def ports() -> dict[str, str]:
    return dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))


def processes_of(ports: dict[str, str]) -> list[int]:
    """Every process with one of the demo's ports in its environment, whatever its session."""
    marks = {f"{name}={value}".encode() for name, value in ports.items()}
    marks |= {f"RABBITMQ_NODE_PORT={ports['AMQP_PORT']}".encode()}
    marks |= {f"ERL_EPMD_PORT={ports['EPMD_PORT']}".encode()}
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            environ = (entry / "environ").read_bytes() if entry.name.isdecimal() else b""
            urls = f":{ports['AMQP_PORT']}/mri".encode()
            if marks & set(environ.split(b"\0")) or urls in environ:
                found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_the_demo_starts_keeps_its_data_heals_a_killed_process_and_stops_all_it_started(
    tmp_path: Path, ports: dict[str, str]
) -> None:
    root = tmp_path / "var"
    with running_demo(root, ports) as demo:
        url, user, password = demo.wait_ready().groups()
        assert url == f"http://127.0.0.1:{ports['WEB_PORT']}"
        record_file = root / "demo.json"
        assert stat.S_IMODE(record_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        record = json.loads(record_file.read_text("utf-8"))
        assert record["credentials"]["web"] == {"user": user, "password": password}
        assert set(record["pids"]) == {"web", "consumer", "rabbitmq", "orthanc"}
        assert all(is_running(pid) for pid in record["pids"].values())
        assert all(Path(log).exists() for log in record["logs"].values())
        first = record["study"]

        os.kill(record["pids"]["web"], signal.SIGKILL)

        def another_site() -> bool:
            again = json.loads(record_file.read_text("utf-8"))
            return bool(again["pids"]["web"] != record["pids"]["web"])

        wait_until(another_site, "start the site again", 60)
        pids = json.loads(record_file.read_text("utf-8"))["pids"]
        assert demo.interrupt() == 0
        wait_until(lambda: not any(map(is_running, pids.values())), "leave no process", 10)
        wait_until(lambda: not processes_of(ports), "leave no child process", 10)
        assert not record_file.exists()

    with running_demo(root, ports) as demo:
        assert demo.wait_ready()[3] == password, "the second start made another password"
        assert json.loads(record_file.read_text("utf-8"))["study"] == first
        assert "simulating" not in demo.text
        assert demo.interrupt() == 0


@pytest.mark.parametrize("variable", PORTS)
def test_a_taken_port_is_one_sentence_that_names_port_and_variable(
    tmp_path: Path, ports: dict[str, str], variable: str
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(ports[variable])))
        other.listen()
        with running_demo(tmp_path / "var", ports) as demo:
            assert demo.process.wait(timeout=60) == 1
            assert demo.text == (
                f"make demo: port {ports[variable]} is taken by another program; "
                f"set {variable} to a free one\n"
            )


def test_a_port_that_is_no_number_is_one_sentence(tmp_path: Path, ports: dict[str, str]) -> None:
    with running_demo(tmp_path / "var", ports | {"WEB_PORT": "eighty"}) as demo:
        assert demo.process.wait(timeout=60) == 1
        assert demo.text == (
            "make demo: WEB_PORT must be a port number from 1 to 65535, not 'eighty'\n"
        )
