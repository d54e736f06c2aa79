"""Runs one command many times: each time in a fork of a process that has its libraries loaded.

The settings are read in the fork, from an environment of its own. As a program it reads the runs
from standard input as JSON and answers with their ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from tempfile import TemporaryFile

from infra.local.settings import REPOSITORY, child_environment


@dataclass(frozen=True)
class Run:
    """One run: what follows the command's name, and what its environment holds."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Done:
    """How it ended; both outputs together."""

    status: int
    output: str


def run_all(
    command: str, runs: Mapping[str, Run], *, load: tuple[str, ...], timeout: float = 300.0
) -> dict[str, Done]:
    """Run ``module:function`` once for each of `runs`, one after the other.

    `load` names modules for the process that is forked; none of them may read settings.
    """
    done = subprocess.run(
        (sys.executable, "-m", "tests.integration.forked", command, *load),
        input=json.dumps({name: asdict(run) for name, run in runs.items()}),
        env=child_environment(),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=True,
    )
    return {name: Done(**end) for name, end in json.loads(done.stdout).items()}


def _main(command: str, *load: str) -> None:
    runs = json.load(sys.stdin)
    for module in load:
        import_module(module)
    json.dump({name: _forked(command, Run(**run)) for name, run in runs.items()}, sys.stdout)


def _forked(command: str, run: Run) -> dict[str, int | str]:
    with TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            _become(command, run)
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        return asdict(Done(os.waitstatus_to_exitcode(status), output.read().decode()))


def _become(command: str, run: Run) -> None:
    """Run the command as a process that was started with this environment; never returns."""
    status = 0
    try:
        os.environ.clear()  # noqa: TID251 - stands in for execve
        os.environ.update(run.environment)  # noqa: TID251
        module, function = command.split(":")
        sys.argv = [command, *run.arguments]
        getattr(import_module(module), function)()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter ends
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    _main(*sys.argv[1:])
