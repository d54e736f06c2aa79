"""Which seeds train the bundle, which choose its settings, which measure it. Frozen.

No seed is in two splits, and the demo and the tests use seeds below 1000.
"""

from dataclasses import dataclass
from typing import Final

from infra.phantom.grid import Grid
from infra.phantom.presets import PresetName
from infra.phantom.study import PhantomStudy, simulate

TRAIN: Final = tuple(range(1000, 1040))
VALIDATION: Final = tuple(range(2000, 2010))
TEST_PLAIN: Final = tuple(range(3000, 3020))
TEST_HARD: Final = tuple(range(4000, 4020))
TEST_EMPTY: Final = tuple(range(5000, 5012))

#: Grids that training sees: the demo's, and others, as scanners differ.
TRAIN_GRIDS: Final = (Grid(), Grid(64, 224), Grid(), Grid(110, 256))


@dataclass(frozen=True)
class Case:
    """One study of a split: everything that `simulate` needs."""

    seed: int
    preset: PresetName
    tumours: int
    grid: Grid

    def simulate(self) -> PhantomStudy:
        """Simulate it."""
        return simulate(self.seed, self.preset, self.grid, self.tumours)


def train_cases() -> list[Case]:
    """Both presets in turn, one study in eight without a tumour, all grids."""
    return [
        Case(seed, _preset(i), 0 if i % 8 == 7 else 2 + i % 2, TRAIN_GRIDS[i // 2 % 4])
        for i, seed in enumerate(TRAIN)
    ]


def validation_cases() -> list[Case]:
    """Both presets in turn; every fifth study is empty."""
    return [
        Case(seed, _preset(i), 0 if i % 5 == 4 else 1 + i % 3, Grid())
        for i, seed in enumerate(VALIDATION)
    ]


def plain_cases(grid: Grid) -> list[Case]:
    """One to three tumours in each study, plain preset."""
    return [Case(seed, "plain", 1 + i % 3, grid) for i, seed in enumerate(TEST_PLAIN)]


def hard_cases(grid: Grid) -> list[Case]:
    """One to three tumours in each study, hard preset."""
    return [Case(seed, "hard", 1 + i % 3, grid) for i, seed in enumerate(TEST_HARD)]


def empty_cases(grid: Grid) -> list[Case]:
    """No tumours, both presets in turn."""
    return [Case(seed, _preset(i), 0, grid) for i, seed in enumerate(TEST_EMPTY)]


def _preset(index: int) -> PresetName:
    return "hard" if index % 2 else "plain"
