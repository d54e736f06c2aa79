"""What a soak was to do, what it has shown, and the table of that."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.reckoning import Reckoning

#: Of all requests, how many may fail under passing faults: a share. A system that fails what it
#: should carry through loses nothing either.
FAILED_SHARE = 0.05


#: Mean seconds between two faults, where nobody says another number.
CALM_S = 8.0


@dataclass(frozen=True)
class Plan:
    """What a soak does."""

    requests: int
    #: Minutes over which the clicks and the faults are spread.
    minutes: float
    seed: int
    #: Whether retry tiers wait 2, 4 and 6 s instead of 30 s, 2 min and 10 min.
    short_tiers: bool = False
    #: Mean seconds from the end of a fault to the next one.
    calm_s: float = CALM_S


@dataclass(frozen=True)
class Outcome:
    """What a soak has shown."""

    plan: Plan
    reckoning: Reckoning
    #: Faults by kind, and blows that found nobody, which are none.
    faults: dict[str, int]
    missed: dict[str, int]
    cancels: int
    letters: int
    #: Messages that were left in the queues.
    left: int
    #: Seconds from the first click to rest, and from the last fault to rest.
    took: float
    settling: float
    #: Of the servers.
    versions: dict[str, str] = field(default_factory=dict)
    #: What the end of its world has left: processes and files, in words.
    left_behind: str = ""

    @property
    def few_failed(self) -> bool:
        """Whether no more than `FAILED_SHARE` of the requests failed."""
        return sum(self.reckoning.failed.values()) <= FAILED_SHARE * self.reckoning.submitted

    @property
    def held(self) -> bool:
        """Whether everything that must hold did."""
        nothing_left = not (self.letters or self.left or self.left_behind)
        return self.reckoning.sound and self.few_failed and nothing_left


def table(outcome: Outcome) -> str:
    """The result as an operator reads it."""
    r, plan = outcome.reckoning, outcome.plan
    lines = [
        f"seed {plan.seed}, {plan.minutes:g} minutes of faults"
        f", {plan.calm_s:g} s of calm between them on average"
        + (", retry tiers shortened to 2, 4 and 6 s" if plan.short_tiers else ""),
        *_cells({"submitted": r.submitted, "completed": r.completed}),
        *_cells({f"failed: {code}": n for code, n in sorted(r.failed.items())} or {"failed": 0}),
        f"  at most {FAILED_SHARE:.0%} may fail: {'so' if outcome.few_failed else 'NOT SO'}",
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
        *_cells({"found nobody": sum(outcome.missed.values())}),
        *_cells({f"  {name}": n for name, n in sorted(outcome.missed.items())}),
        f"{outcome.took:.0f} s in all, {outcome.settling:.0f} s from the last fault to rest",
        *([outcome.left_behind] if outcome.left_behind else ()),
    ]
    verdict = "held" if outcome.held else "DID NOT HOLD"
    return "\n".join([*lines, *r.lost, *r.stuck, *r.doubled, *r.disagreeing, verdict])


def _cells(counts: dict[str, int]) -> list[str]:
    return [f"{name:<32}{count:>7}" for name, count in counts.items()]
