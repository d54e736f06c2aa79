"""Set-up of a fresh checkout: Debian packages, `.venv`, dependencies. Standard library only.

`python3.11 -m infra.demo.bootstrap demo|test` installs what is missing, says what it does, and
returns at once when nothing is missing. Run again after an interruption it starts over cleanly.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from infra.brain.fetch import Brain, FetchError, Run
from infra.demo.packages import APT_SCRIPT, apt_command, missing_packages
from infra.local.settings import REPOSITORY, LocalSettings, SettingsError, load
from infra.local.steps import TAIL_LINES, SetupError, run_step
from infra.pins import install
from infra.viewer.fetch import Viewer

VENV = REPOSITORY / ".venv"
PYPROJECT = REPOSITORY / "pyproject.toml"

#: In an environment: what it was made from; written last, so that it vouches for a whole one.
STAMP = "labrelay-setup.json"

#: In an environment while pip works: a run that finds it was preceded by one that broke off.
UNFINISHED = "labrelay-unfinished"

#: The extras of pyproject.toml, and which others each of them holds.
HOLDS = {"demo": {"demo"}, "test": {"demo", "test"}}


def main(arguments: Sequence[str]) -> int:
    """Set up for `demo` (default) or `test`; 0 when all is there."""
    extra = arguments[0] if arguments else "demo"
    try:
        require_version(sys.version_info[:2])
        require_known(extra)
        settings = load()
        install_packages(missing_packages(extra, with_venv=_venv_module_missing()))
        set_up_environment(extra, settings)
        fetch_brain(Brain(), needed=extra == "test")
        fetch_viewer(Viewer(), needed=extra == "test")
    except (SetupError, SettingsError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


def require_version(version: tuple[int, ...]) -> None:
    """Raise `SetupError` unless this is Python 3.11, on which demo and tests are kept."""
    if version != (3, 11):
        found = ".".join(map(str, version))
        raise SetupError(
            f"Python 3.11 is needed and this is {found}; name one with `make PYTHON=/path/to/it`"
        )


def require_known(extra: str) -> None:
    """Raise `SetupError` unless `extra` is one that this file sets up."""
    if extra not in HOLDS:
        raise SetupError(f"the set-up knows {' and '.join(HOLDS)}, not {extra!r}")


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian packages as root or by sudo; otherwise say which command does it."""
    if not packages:
        return
    by_hand = apt_command(packages)
    if shutil.which("apt-get") is None:
        raise SetupError(f"these are missing: {', '.join(packages)}; on Debian: {by_hand}")
    if os.geteuid() == 0:
        prefix: tuple[str, ...] = ()
    elif shutil.which("sudo") and _silent("sudo", "-n", "true"):
        prefix = ("sudo", "-n")
    else:
        raise SetupError(f"these Debian packages are missing, install them with: {by_hand}")
    run_step(
        f"installing Debian packages: {', '.join(packages)}",
        (*prefix, "sh", "-c", APT_SCRIPT, "labrelay", *packages),
        remedy=f"install them with: {by_hand}",
    )


def python_of(venv: Path = VENV) -> Path:
    """Return the interpreter of an environment."""
    return venv / "bin" / "python"


def set_up_environment(extra: str, settings: LocalSettings, venv: Path = VENV) -> None:
    """Make `venv` hold the pinned dependencies of `extra`, unless its stamp says that it does."""
    stamp, unfinished, python = venv / STAMP, venv / UNFINISHED, python_of(venv)
    wanted = fingerprint(
        PYPROJECT.read_bytes(),
        *(file.read_bytes() for file in install.every_pins()),
        settings.torch_requirement,
        settings.torch_index,
    )
    if is_current(extra, wanted, stamp):
        return
    if unfinished.exists() or not _silent(str(python), "-m", "pip", "--version"):
        # pip takes a package for installed whose files are half there: only a new start is safe.
        run_step(
            f"making the virtual environment {venv.relative_to(REPOSITORY)}",
            (sys.executable, "-m", "venv", "--clear", str(venv)),
            remedy="see the lines above",
        )
    stamp.unlink(missing_ok=True)
    unfinished.touch()
    try:
        install.run(install.steps(python, extra, settings, editable=True))
    except SetupError:
        # pip said no and took back what it had begun: nothing is torn, only incomplete.
        unfinished.unlink()
        raise
    stamp.write_text(json.dumps({"fingerprint": wanted, "extra": extra}) + "\n", encoding="utf-8")
    unfinished.unlink()


def fetch_brain(brain: Brain, *, needed: bool, venv: Path = VENV) -> None:
    """Fetch the brain mask's weights and the brain series, or say what the demo goes without.

    Raises `SetupError` when they are `needed`: tests of them must not be left out in silence.
    """
    _fetch("the brain model", partial(brain.ensure_bundles, str(python_of(venv))), needed=needed)
    _fetch("the brain study", brain.ensure_series, needed=needed)


def fetch_viewer(viewer: Viewer, *, needed: bool) -> None:
    """The same for the OHIF viewer, without which the pages show the images themselves."""
    _fetch("the viewer", viewer.ensure, needed=needed)


def _fetch(missing: str, ensure: Callable[[Run], None], *, needed: bool) -> None:
    def run(title: str, command: Sequence[str]) -> None:
        try:
            run_step(title, command, remedy="run the set-up again", tail=TAIL_LINES * needed)
        except SetupError as error:
            raise FetchError(str(error)) from error

    try:
        ensure(run)
    except (FetchError, OSError) as error:
        if needed:
            raise SetupError(f"{missing} could not be fetched: {error}") from error
        print(f"set-up: going on without {missing}: {error}", flush=True)


def fingerprint(*parts: bytes | str) -> str:
    """Return a hash of what the environment depends on; the parts cannot run into each other."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def is_current(extra: str, wanted: str, stamp: Path = VENV / STAMP) -> bool:
    """Whether a finished set-up of `extra`, or of one that holds it, was made from `wanted`."""
    try:
        made = json.loads(stamp.read_text(encoding="utf-8"))
        return made["fingerprint"] == wanted and extra in HOLDS[made["extra"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _silent(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _venv_module_missing() -> bool:
    """Whether `.venv` must be made and cannot be: Debian packs ensurepip separately."""
    return not python_of().exists() and importlib.util.find_spec("ensurepip") is None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
