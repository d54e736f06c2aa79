"""The matrix: every row is one fault in real processes. `make faults` runs them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.world import World

#: The families of the matrix, in its order.
FAMILIES = ("web", "broker", "cluster", "lab", "archive", "messages", "browser")

#: Injects the fault and lets everything go on; returns seconds from the end of the fault (or its
#: beginning, where the system has to notice it) to the recovery, or None.
Inject = Callable[[World], float | None]


@dataclass(frozen=True)
class Row:
    """One fault: what it is, how it is injected, and how its requests may end."""

    family: str
    fault: str
    #: How it is brought about, for the table.
    injected: str
    inject: Inject
    allowed: frozenset[str]
    #: Dead letters that belong there.
    letters: int
    #: What the recovery time is measured between; empty where none is.
    measures: str
    #: Seconds that it should not take, where the project has such a goal: shown beside what was
    #: measured, and never asserted.
    goal: float | None
    #: Whether `make test` runs it.
    in_suite: bool
    #: What it runs in where that is not its family's world: a key of `matrix.WORLDS`.
    world: str

    @property
    def name(self) -> str:
        """How the command line names it."""
        return f"{self.family}/{self.inject.__name__}"


#: Every row that a module has declared, in the order of declaration.
ROWS: list[Row] = []


def row(
    family: str,
    fault: str,
    *,
    injected: str,
    allowed: tuple[str, ...] = ("completed",),
    letters: int = 0,
    measures: str = "",
    goal: float | None = None,
    in_suite: bool = False,
    world: str = "",
) -> Callable[[Inject], Inject]:
    """Declare the decorated function as a row of the matrix."""
    if family not in FAMILIES:
        raise ValueError(f"{family} is no family of the matrix")
    if goal is not None and not measures:
        raise ValueError(f"a goal of {goal:g} s for nothing that is measured: {fault}")

    def declare(inject: Inject) -> Inject:
        ROWS.append(
            Row(
                family=family,
                fault=fault,
                injected=injected,
                inject=inject,
                allowed=frozenset(allowed),
                letters=letters,
                measures=measures,
                goal=goal,
                in_suite=in_suite,
                world=world or family,
            )
        )
        return inject

    return declare
