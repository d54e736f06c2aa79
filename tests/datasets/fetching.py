"""Brings a public set into ``var/datasets/fetched``, once; what cannot be had is a sentence."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pydicom

from infra.brain.fetch import Brain
from infra.local.private_files import private_directory
from infra.local.settings import VAR, child_environment
from tests.datasets.catalogue import DataSet

#: Everything of this package is below.
HOME = VAR / "datasets"

#: Seconds for one clone.
_PATIENCE_SECONDS = 1200

#: No question at a terminal, and no content that lies elsewhere: a pointer is no DICOM file.
_QUIETLY = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}


class NotFetched(Exception):
    """The set cannot be had here; the text is one sentence."""


@dataclass(frozen=True)
class Fetched:
    """A set on this machine."""

    folder: Path
    #: Of the repository; of a package its version.
    commit: str


def fetched(one: DataSet, home: Path = HOME / "fetched") -> Fetched:
    """The set on this machine, cloned if need be. Raises `NotFetched`.

    A clone that was broken off is begun again. Whoever has a set already may put its files into
    the folder and the commit beside it.
    """
    if one.package is not None:
        return _installed(one.package)
    folder, commit = home / one.folder, home / f"{one.folder}.commit"
    if not commit.is_file():
        private_directory(home)
        _clone(one.address, folder)
        commit.write_text(_git(folder, "rev-parse", "HEAD"), encoding="ascii")
    return Fetched(folder, commit.read_text(encoding="ascii").strip())


def _installed(package: str) -> Fetched:
    if package == "brain":
        brain = Brain()
        if not brain.has_series():
            raise NotFetched("the brain series is missing: run `make setup-test`")
        return Fetched(brain.files[0].parent, "1.2.46")
    return Fetched(Path(pydicom.__file__).parent / "data" / "test_files", pydicom.__version__)


def _clone(address: str, folder: Path) -> None:
    part = folder.with_name(f"{folder.name}.part")
    for left in (part, folder):
        shutil.rmtree(left, ignore_errors=True)
    command = ("git", "clone", "--quiet", "--depth", "1", address, str(part))
    try:
        subprocess.run(
            command,
            env=child_environment(_QUIETLY),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotFetched(f"{address} took longer than {_PATIENCE_SECONDS} s") from None
    except (OSError, subprocess.CalledProcessError):
        raise NotFetched(f"{address} cannot be cloned from here") from None
    part.rename(folder)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(folder), *arguments), capture_output=True, text=True, check=True
    )
    return done.stdout
