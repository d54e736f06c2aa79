"""Installs by the pins: pip takes no file whose SHA-256 is not named there. Standard library only.

torch is the exception. Which build of it is right depends on the machine, so it comes from an index
of the operator's choice, in a step of its own and by its version alone, together with the CUDA
packages that some builds bring.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.settings import REPOSITORY, LocalSettings, SettingsError, load
from infra.local.steps import SetupError, StepFailed, run_step

#: The files of pins.
FOLDER = REPOSITORY / "infra" / "pins"

#: The extras of pyproject.toml that can be installed by pins -> the files that hold theirs.
FILES = {
    "web": ("web",),
    "consumer": ("consumer",),
    "demo": ("web", "consumer"),
    "test": ("test",),
}

#: Those without torch.
WITHOUT_TORCH = {"web"}

#: What pip says of a file that is another than the pin's, and of a pin without a hash.
_OTHER_FILE = "DO NOT MATCH THE HASHES"
_NO_HASH = "Hashes are required in --require-hashes mode"

#: pip's lines below either, one for each package that it refuses.
_REFUSED = re.compile(r"^ {4}([A-Za-z0-9][\w.-]*(?:==[\w.!+-]+)?)", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One run of pip."""

    title: str
    command: tuple[str, ...]


def pins(extra: str, folder: Path = FOLDER) -> tuple[Path, ...]:
    """Return the files of pins that `extra` is installed by, what builds the project first."""
    return tuple(folder / f"{name}.txt" for name in ("build", *FILES[extra]))


def every_pins(folder: Path = FOLDER) -> tuple[Path, ...]:
    """Return all files of pins, in order of their names."""
    return tuple(sorted(folder.glob("*.txt")))


def steps(
    python: Path,
    extra: str,
    settings: LocalSettings,
    *,
    editable: bool = False,
    folder: Path = FOLDER,
) -> list[Step]:
    """Return what installs the project with `extra` for the interpreter `python`, in order."""
    install = (str(python), "-m", "pip", "install", "--disable-pip-version-check")
    # --no-deps: a pin that is missing is said by the last step, and not fetched without a hash.
    hashed = (*install, "--require-hashes", "--no-deps", "--no-build-isolation")
    build, *others = pins(extra, folder)
    found = [
        Step("installing what builds packages", (*hashed, "-r", str(build))),
        Step(
            f"installing the pinned packages of the {extra} part, each by its hash",
            (*hashed, *(part for file in others for part in ("-r", str(file)))),
        ),
    ]
    if extra not in WITHOUT_TORCH:
        index = ("--extra-index-url", settings.torch_index) if settings.torch_index else ()
        found.append(
            Step(
                f"installing {settings.torch_requirement} (the largest part)",
                # After the others, so that it brings nothing along that a pin names. The pinned
                # version is asked for as well, so that no other build's number gets past it.
                (*install, *index, torch_pin(), settings.torch_requirement),
            )
        )
    target = f"{REPOSITORY}[{extra}]"
    found.append(
        Step(
            "installing the project",
            # Without an index: whatever it needs is there by now, or is named here as missing.
            (
                *(*install, "--no-index", "--no-build-isolation"),
                *(("-e", target) if editable else (target,)),
            ),
        )
    )
    return found


def torch_pin() -> str:
    """Return the project's own requirement of torch."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (pin,) = (
        text for text in project["optional-dependencies"]["consumer"] if text.startswith("torch==")
    )
    return str(pin)


def run(found: Sequence[Step]) -> None:
    """Run the steps; `SetupError` says in a sentence which failed, and what to do."""
    for step in found:
        try:
            run_step(
                step.title,
                step.command,
                remedy="read its last lines above, then run the same command again",
            )
        except StepFailed as failure:
            sentence = refusal(failure.output)
            raise (SetupError(sentence) if sentence else failure) from failure


def refusal(output: str) -> str:
    """Return a sentence for pip's refusal of a file by its hash; empty when it was not that."""
    for mark, what in (
        (_OTHER_FILE, "what the package index gave is not the file that was pinned"),
        (_NO_HASH, "a pin names no hash"),
    ):
        if mark in output:
            names = ", ".join(sorted(set(_REFUSED.findall(output[output.index(mark) :]))))
            return (
                f"{what}: {names or 'see the lines above'}; nothing of this step was installed. "
                "Compare infra/pins with the project's own copy; if that is whole, the index or "
                "what lies before it (a mirror, pip's cache) hands out another file: do not use it"
            )
    return ""


def main(arguments: Sequence[str]) -> int:
    """Make the virtual environment that is named, if it is not there, and install into it."""
    extras = ("web", "consumer")
    if len(arguments) != 2 or arguments[1] not in extras:
        print("usage: python3.11 -m infra.pins VENV web|consumer", file=sys.stderr)
        return 2
    venv = Path(arguments[0]).resolve()
    python = venv / "bin" / "python"
    try:
        settings = load()
        if not python.exists():
            run_step(
                f"making the virtual environment {venv}",
                (sys.executable, "-m", "venv", str(venv)),
                remedy="see the lines above",
            )
        run(steps(python, arguments[1], settings))
    except (SetupError, SettingsError, OSError) as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up: stopped; run it again to go on", file=sys.stderr)
        return 130
    print(f"set-up: {venv} holds Labrelay with its {arguments[1]} part")
    return 0
