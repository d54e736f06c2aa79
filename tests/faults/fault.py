"""One thing that must hold after a fault and does not."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from infra.local.settings import REPOSITORY


@dataclass(frozen=True)
class Fault:
    """What does not hold, in a sentence."""

    sentence: str

    def __str__(self) -> str:
        return self.sentence


def why(error: BaseException) -> str:
    """An exception in words: its kind, its text, and the last line of ours that it came through.

    A bare `assert` has no text of its own; its line says what was not so.
    """
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(REPOSITORY) and ".venv" not in file.parts:
            return f"{text} [{file.relative_to(REPOSITORY)}:{frame.lineno} {frame.line}]"
    return text
