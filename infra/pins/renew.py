"""`make constraints`: asks the package index for the pins anew, and keeps the versions that fit.

Needs the environment of `make test` (uv is in it) and a package index. What is given further goes
to uv: `make constraints ARGS='--upgrade-package pillow'`, or `ARGS=--upgrade` for everything.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from infra.local.settings import REPOSITORY
from infra.pins.install import FOLDER

#: The widest first: the others take its versions, so that no two files disagree.
PARTS = ("test", "consumer", "web", "build")

#: The Pythons and machines for which each pin must have a file that needs no compiler. glibc 2.36
#: is that of Debian 12.
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("x86_64-manylinux_2_36", "aarch64-manylinux_2_36")

#: Comes as source only: one module of Python, which needs no compiler.
SOURCE_ONLY = "sdnotify"


class RenewError(Exception):
    """The pins stay as they were; the text is one sentence."""


def renew(
    arguments: Sequence[str] = (), project: Path = REPOSITORY, folder: Path = FOLDER
) -> list[Path]:
    """Write the pins of all parts into `folder` once every one is made; raises `RenewError`."""
    with tempfile.TemporaryDirectory(prefix="labrelay-pins-") as made:
        work = Path(made)
        for part in PARTS:
            file = work / f"{part}.txt"
            if (folder / file.name).exists():
                # uv keeps what the file that it writes names already.
                shutil.copyfile(folder / file.name, file)
            _uv(
                (
                    *("--config-file", str(FOLDER / "uv.toml"), "pip", "compile"),
                    *_asked_for(part, project, work),
                    *(("--constraints", str(work / "test.txt")) if part != "test" else ()),
                    *("--output-file", str(file), "--quiet", *arguments),
                ),
                f"the pins of {part} could not be made",
            )
        for part in ("test", "build"):
            # `test` holds what consumer and web hold.
            _require_wheels(work / f"{part}.txt", part, arguments)
        written = [folder / f"{part}.txt" for part in PARTS]
        for file in written:
            part_file = file.with_suffix(".part")
            shutil.copyfile(work / file.name, part_file)
            part_file.replace(file)
    return written


def _asked_for(part: str, project: Path, work: Path) -> tuple[str, ...]:
    """Return where uv reads what `part` asks for: an extra, or what builds the project."""
    pyproject = project / "pyproject.toml"
    if part != "build":
        return (str(pyproject), "--extra", part)
    wanted = tomllib.loads(pyproject.read_text(encoding="utf-8"))["build-system"]["requires"]
    source = work / "build.in"
    source.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    return (str(source),)


def _require_wheels(pins: Path, part: str, arguments: Sequence[str]) -> None:
    """Raise `RenewError` unless each pin has a wheel for every Python and machine of ours."""
    for python in PYTHONS:
        for platform in PLATFORMS:
            _uv(
                (
                    *("--no-config", "--no-python-downloads", "pip", "compile", "--no-deps"),
                    *("--only-binary", ":all:", "--no-binary", SOURCE_ONLY, "--quiet"),
                    *("--python-version", python, "--python-platform", platform),
                    *("--output-file", str(pins.with_suffix(".tried")), *arguments, str(pins)),
                ),
                f"not every pin of {part} can be installed on Python {python}, {platform}",
            )


def _uv(arguments: Sequence[str], failure: str) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "uv", *arguments),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RenewError(f"{failure}; infra/pins is as it was. {done.stderr.strip()}")


def main(arguments: Sequence[str]) -> int:
    """Make the pins anew; 0 when they are written."""
    try:
        written = renew(arguments)
    except (RenewError, OSError) as error:
        print(f"constraints: {error}", file=sys.stderr)
        return 1
    print(f"constraints: {', '.join(str(file.relative_to(REPOSITORY)) for file in written)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
