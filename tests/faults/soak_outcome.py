"""What a soak was to do, what it has shown, and the table of that."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.reckoning import Reckoning


@dataclass(frozen=True)
class Plan:
    """What a soak does."""

    requests: int
    #: Minutes over which the clicks and the faults are spread.
    minutes: float
    seed: int
    #: Whether retry tiers wait 2, 4 and 6 s instead of 30 s, 2 min and 10 min.
    short_tiers: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a soak has shown."""

    plan: Plan
    reckoning: Reckoning
    #: Faults by kind.
    faults: dict[str, int]
    cancels: int
    letters: int
    #: Messages that were left in the queues.
    left: int
    #: Seconds from the first click to rest, and from the last fault to rest.
    took: float
    settling: float

    @property
    def held(self) -> bool:
        """Whether everything that must hold did."""
        return self.reckoning.sound and not self.letters and not self.left


def table(outcome: Outcome) -> str:
    """The result as an operator reads it."""
    r, plan = outcome.reckoning, outcome.plan
    lines = [
        f"seed {plan.seed}, {plan.minutes:g} minutes of faults"
        + (", retry tiers shortened to 2, 4 and 6 s" if plan.short_tiers else ""),
        *_cells({"submitted": r.submitted, "completed": r.completed}),
        *_cells({f"failed: {code}": n for code, n in sorted(r.failed.items())} or {"failed": 0}),
        *_cells({"cancelled": r.cancelled, "  cancels taken": outcome.cancels}),
        *_cells(
            {
                "lost": len(r.lost),
                "stuck": len(r.stuck),
                "doubled": len(r.doubled),
                "disagreeing": len(r.disagreeing),
                "dead letters": outcome.letters,
                "messages left": outcome.left,
            }
        ),
        *_cells({"faults": sum(outcome.faults.values())}),
        *_cells({f"  {name}": n for name, n in sorted(outcome.faults.items())}),
        f"{outcome.took:.0f} s in all, {outcome.settling:.0f} s from the last fault to rest",
    ]
    return "\n".join([*lines, *r.lost, *r.stuck, *r.doubled, *r.disagreeing])


def _cells(counts: dict[str, int]) -> list[str]:
    return [f"{name:<32}{count:>7}" for name, count in counts.items()]
