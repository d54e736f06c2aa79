"""`make other-python PYTHON=python3.13`: the unit and contract parts on another Python.

Run by that Python; standard library only until its environment is made, which lies under var/ and
is that of `make test`: the same pins, and torch as TORCH_INDEX and TORCH_REQUIREMENT say.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.brain.fetch import Brain
from infra.demo import bootstrap
from infra.demo.packages import missing_packages
from infra.local.private_files import private_directory
from infra.local.settings import REPOSITORY, VAR, SettingsError, load
from infra.local.steps import SetupError
from infra.pins.renew import PYTHONS
from infra.viewer.fetch import Viewer

#: What runs on it: the other parts test servers, which are the same.
PARTS = ("tests/unit", "tests/contract")

NEEDS = f"""\
This runs {" and ".join(PARTS)} on the Python that PYTHON names ({", ".join(PYTHONS)}), with what
`make test` needs, in an environment of its own below {VAR}: 1.6 GB with a CPU build of torch, 6 GB
with the CUDA build. It is no part of `make test`.
"""


def main(arguments: Sequence[str]) -> int:
    """Make the environment if it is not there, and run the tests; pytest's exit status."""
    print(NEEDS, flush=True)
    try:
        venv = environment(sys.version_info[:2])
        settings = load()
        bootstrap.install_packages(missing_packages("test", with_venv=False))
        private_directory(VAR)
        bootstrap.set_up_environment("test", settings, venv)
        bootstrap.fetch_brain(Brain(), needed=True, venv=venv)
        bootstrap.fetch_viewer(Viewer(), needed=True)
    except (SetupError, SettingsError) as error:
        print(f"other-python: {error}", file=sys.stderr)
        return 1
    command = tests_on(bootstrap.python_of(venv), arguments)
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def environment(version: tuple[int, ...]) -> Path:
    """Return where the environment of that Python lies; `SetupError` when it has no pins."""
    name = ".".join(map(str, version))
    if name not in PYTHONS:
        raise SetupError(
            f"this is Python {name}, and the pins are for {', '.join(PYTHONS)}; name one of these "
            "with `make other-python PYTHON=/path/to/it`"
        )
    return VAR / f"python{name}"


def tests_on(python: Path, of_pytest: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs the parts, or what `of_pytest` names in their place."""
    named = any(word.startswith("tests/") for word in of_pytest)
    workers = () if any(word.startswith("-n") for word in of_pytest) else ("-n", "3")
    return (
        *(str(python), "-m", "pytest", "--dist", "loadfile", "--no-loadscope-reorder"),
        *workers,
        *of_pytest,
        *(() if named else PARTS),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
