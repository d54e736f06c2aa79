"""A lab that is killed in the middle of a reading leaves nothing of a patient on a disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.local.process import wait_until
from infra.local.settings import REPOSITORY, child_environment

#: How names begin of what is open and on no disk.
_NO_FILES = ("/memfd:", "/dev/", "/proc/")

#: A lab that says its reader's id in the middle of a reading, and then reads on and on.
_LAB = """
import threading, time
from consumer import bootstrap
from consumer.stop_conditions import StopConditions
from consumer.memory import MemoryFile
from consumer.settings import load_analysis
from tests.bad_inputs.study import series, study_of
from tests.child_work import pid
from tests.unit.test_nothing_left import open_files

if __name__ == "__main__":
    pre = series(slices=400, rows=256, columns=256)
    with bootstrap.workbench(load_analysis(orthanc_url="http://127.0.0.1:9")) as bench:
        child = bench._reader.call(60, StopConditions(), pid)
        with study_of(("pre", pre)).downloaded() as source, MemoryFile() as volumes:
            def work():
                while True:
                    bench.read(source, volumes.path, StopConditions())
            threading.Thread(target=work, daemon=True).start()
            while not volumes.size:
                time.sleep(0.001)
            print(child, *open_files(), flush=True)
            time.sleep(600)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A reading lab, its reader's process, and the one place where its files could lie.

    The lab holds no file with a name open: it says so itself, because nobody else may look.
    """
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "lab.py").write_text(_LAB, encoding="utf-8")
    given = {"TMPDIR": str(home), "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        # Whatever the machine's own limit of core dumps is: this lab may write one.
        (
            *("sh", "-c", 'ulimit -S -c unlimited 2>/dev/null; exec "$@"', "sh"),
            *(sys.executable, str(tmp_path / "lab.py")),
        ),
        cwd=home,
        env={**child_environment(), **given},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the lab did not begin to read"
        reader, *files = line.split()
        assert not files
        yield process, int(reader), home
        process.kill()


def gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] == "Z"
    return True


def open_files() -> list[str]:
    """The files with a name that this process holds open, its standard streams left out."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2:
            with suppress(OSError):
                found.append(str(entry.readlink()))
    return [name for name in found if name.startswith("/") and not name.startswith(_NO_FILES)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=["killed", "crashed"])
@pytest.mark.parametrize("victim", ["lab", "reader"])
def test_what_dies_while_it_reads_leaves_no_file(
    lab: tuple[subprocess.Popen[str], int, Path], victim: str, number: signal.Signals
) -> None:
    process, reader, home = lab
    os.kill(process.pid if victim == "lab" else reader, number)
    wait_until(lambda: gone(reader), "end the reader", 30)
    process.kill()
    process.wait(30)

    assert not list(home.rglob("*"))


def test_a_core_dump_of_another_process_would_have_been_found(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    unlimited = resource.getrlimit(resource.RLIMIT_CORE)[1] == resource.RLIM_INFINITY
    if pattern != "core" or not unlimited:
        pytest.skip("this machine writes no dumps into the working directory")
    subprocess.run(("sh", "-c", "ulimit -c unlimited; kill -SEGV $$"), cwd=tmp_path, check=False)
    assert list(tmp_path.iterdir())
