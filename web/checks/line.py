"""One line of the checklist; its twin is the lab's. The two sides share `messages` alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The sign in front of a line."""

    OK = "✓"
    WARNED = "!"
    BAD = "✗"
    SKIPPED = "-"


@dataclass(frozen=True)
class Line:
    """What was looked at, what was found, and for what is not right the fix.

    A fix of several lines is one command a line, to be copied. What wants something says what, and
    what is as it must be wants nothing: a `fix` beside a check mark raises `ValueError`.
    """

    state: State
    noun: str
    text: str
    fix: str = ""

    def __post_init__(self) -> None:
        if bool(self.fix) != (self.state in (State.WARNED, State.BAD)):
            raise ValueError(f"{self.state.name} and a fix of {self.fix!r}")

    def __str__(self) -> str:
        head, *commands = self.fix.split("\n")
        tail = f"  — fix: {head}" if head else ""
        below = "".join(f"\n      {command}" for command in commands)
        return f"{self.state.value} {self.noun}: {self.text}{tail}{below}"


def ok(noun: str, text: str) -> Line:
    """It is as it must be."""
    return Line(State.OK, noun, text)


def bad(noun: str, text: str, fix: str) -> Line:
    """It is not, and this mends it."""
    return Line(State.BAD, noun, text, fix)


def warned(noun: str, text: str, fix: str) -> Line:
    """It works as it is, and may not always: no reason to stop, and there is a fix."""
    return Line(State.WARNED, noun, text, fix)


def skipped(noun: str, needs: str) -> Line:
    """It could not be looked at."""
    return Line(State.SKIPPED, noun, f"skipped, needs {needs}")


def note(noun: str, text: str) -> Line:
    """Worth knowing, and nothing to mend."""
    return Line(State.SKIPPED, noun, text)
