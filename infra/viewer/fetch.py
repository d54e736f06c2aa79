"""Fetches OHIF by npm and makes it ready to be served. Standard library only.

``python3.11 -m infra.viewer.fetch FOLDER`` does the same for a site without `make`.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.brain.fetch import PATIENCE_SECONDS, FetchError, Run, only_file, verified
from infra.local.settings import VAR
from infra.viewer.package import (
    TARBALL,
    TARBALL_SHA256,
    UnknownPackage,
    bundle_in,
    compressible,
    patch,
    wanted,
)

#: Ours beside OHIF's own files.
HERE = Path(__file__).parent
OWN = ("app-config.js", "index.html")

#: Says what the folder was made from; written last, so that it vouches for a whole one.
STAMP = "labrelay-viewer.txt"

#: Of gzip: 9 takes three times as long for one part in a hundred.
LEVEL = 7

#: Threads that compress; gzip lets go of the interpreter.
THREADS = 4


class Viewer:
    """The viewer in `folder`: whole, or not there."""

    def __init__(self, folder: Path = VAR / "viewer") -> None:
        self.folder = folder

    def is_there(self) -> bool:
        """Whether the folder was made from this package and these files of ours."""
        try:
            return (self.folder / STAMP).read_text("utf-8") == _made_from()
        except OSError:
            return False

    def ensure(self, run: Run) -> None:
        """Fetch the package by npm and make it ready; quick when that is done.

        What is there already is replaced only when it is a viewer. Raises `FetchError`.
        """
        if self.is_there():
            return
        if self._holds_something_else():
            raise FetchError(f"{self.folder} is not empty and holds no viewer; name another folder")
        if shutil.which("npm") is None:
            raise FetchError("npm is missing, which fetches the viewer")
        parent = self.folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="fetch-") as work:
            run(
                f"fetching the viewer ({TARBALL}, 50 MB)",
                (
                    *("npm", "pack", "--ignore-scripts", "--fetch-retries=1"),
                    *(f"--fetch-timeout={PATIENCE_SECONDS}000", "--pack-destination", work),
                    TARBALL,
                ),
            )
            tarball = verified(only_file(work, TARBALL), TARBALL_SHA256)
            try:
                made = unpack(tarball, Path(work) / "viewer")
            except (UnknownPackage, tarfile.TarError) as error:
                raise FetchError(f"the viewer cannot be made ready: {error}") from error
            if self.folder.exists():
                # Aside first, so that the folder is whole at each moment or not there.
                self.folder.rename(Path(work) / "old")
            made.rename(self.folder)

    def _holds_something_else(self) -> bool:
        if not self.folder.exists():
            return False
        if not self.folder.is_dir():
            return True
        return any(self.folder.iterdir()) and not (self.folder / STAMP).is_file()


def unpack(tarball: Path, target: Path) -> Path:
    """Make the viewer's folder from the package; `target` must not exist.

    Raises `infra.viewer.package.UnknownPackage`.
    """
    with tarfile.open(tarball) as archive:
        for member in archive:
            inside = wanted(member.name) if member.isfile() else None
            content = archive.extractfile(member) if inside else None
            if inside and content is not None:
                file = target / inside
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as copy:
                    shutil.copyfileobj(content, copy)
    patch(target)
    for name in OWN:
        text = (HERE / name).read_text("utf-8").replace("@bundle@", bundle_in(target))
        (target / name).write_text(text, encoding="utf-8")
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(compress, compressible(target)))
    (target / STAMP).write_text(_made_from(), encoding="utf-8")
    return target


def compress(file: Path) -> None:
    """Put a ``.gz`` beside the file, the same for the same content."""
    packed = gzip.compress(file.read_bytes(), LEVEL, mtime=0)
    file.with_name(f"{file.name}.gz").write_bytes(packed)


def _made_from() -> str:
    digest = hashlib.sha256()
    for file in sorted(HERE.glob("*.*")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return f"{TARBALL} {TARBALL_SHA256} {digest.hexdigest()}\n"


def main(arguments: Sequence[str]) -> int:
    """Fetch into the folder that is named; 0 when it is there."""
    if len(arguments) != 1:
        print("usage: python3.11 -m infra.viewer.fetch FOLDER", file=sys.stderr)
        return 2

    def run(title: str, command: Sequence[str]) -> None:
        print(title, flush=True)
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            raise FetchError(f"{title} failed")

    viewer = Viewer(Path(arguments[0]).resolve())
    try:
        viewer.ensure(run)
    except (FetchError, OSError) as error:
        print(f"the viewer could not be fetched: {error}", file=sys.stderr)
        return 1
    print(f"the viewer is in {viewer.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
