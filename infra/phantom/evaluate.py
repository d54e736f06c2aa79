"""Measures the bundle itself on studies that it has not seen; prints Markdown tables.

    python -m infra.phantom.evaluate

Dice is computed on the original grid of each study, over all its tumours together for the
preset table and tumour by tumour for the size table.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from infra.phantom.bundle import BUNDLE, BundleRunner
from infra.phantom.grid import Grid
from infra.phantom.splits import Case, empty_cases, hard_cases, plain_cases, validation_cases
from infra.phantom.study import PhantomStudy

#: Edges of the size bands, mm.
BANDS: Final = ((5.0, 10.0), (10.0, 20.0), (20.0, 41.0))


@dataclass(frozen=True)
class Score:
    """How the bundle did on one study."""

    case: Case
    #: 1.0 where both truth and prediction are empty.
    dice: float
    #: For each tumour: diameter in mm, and Dice against what was predicted in its surroundings.
    tumours: tuple[tuple[float, float], ...]
    #: Predicted regions that touch no tumour, and their volume.
    false_regions: int
    false_ml: float
    seconds: float


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Dice of two masks of one shape; 1.0 where both are empty."""
    both = int(truth.sum()) + int(found.sum())
    return 2.0 * int((truth & found).sum()) / both if both else 1.0


def score(case: Case, study: PhantomStudy, found: NDArray[np.bool_], seconds: float) -> Score:
    """Compare the mask `found` (slices, rows, cols) with the truth of `study`."""
    voxel_ml = float(np.prod(study.grid.spacing)) / 1000.0
    regions, count = ndimage.label(found)
    touched = set(np.unique(regions[study.truth]).tolist()) - {0}
    false = found & ~np.isin(regions, list(touched))
    tumours = []
    for lesion in study.lesions:
        x, y, z = lesion.centre
        box = study.grid.box((z, -y, -x), [lesion.diameter_mm / 2 + 3.0] * 3)
        tumours.append((lesion.diameter_mm, dice(study.truth[box], found[box])))
    return Score(
        case=case,
        dice=dice(study.truth, found),
        tumours=tuple(tumours),
        false_regions=count - len(touched),
        false_ml=float(false.sum()) * voxel_ml,
        seconds=seconds,
    )


_runner: BundleRunner | None = None


def _start(bundle: Path, threads: int) -> None:
    """Load the bundle once in each worker."""
    global _runner  # noqa: PLW0603 - a pool's initializer has no other place for it
    torch.set_num_threads(threads)
    _runner = BundleRunner(bundle)


def measure(case: Case) -> Score:
    """Simulate, run and score one study."""
    if _runner is None:
        raise RuntimeError("the worker was not started with its bundle")
    study = case.simulate()
    started = time.monotonic()
    found = _runner.probabilities(study) >= 0.5
    return score(case, study, found, time.monotonic() - started)


def tables(groups: dict[str, list[Score]]) -> str:
    """Lay the scores out as two Markdown tables."""
    heads = ("studies", "n", "median Dice", "quartiles", "worst", "false regions", "false ml")
    lines = [f"| {' | '.join(heads)} | studies with any |", "|---" * 8 + "|"]
    for name, scores in groups.items():
        regions = sum(s.false_regions for s in scores)
        volume = sum(s.false_ml for s in scores)
        if any(s.case.tumours for s in scores):
            low, mid, high = np.percentile([s.dice for s in scores], [25, 50, 75])
            quality = f"{mid:.3f} | {low:.3f}-{high:.3f} | {min(s.dice for s in scores):.3f}"
        else:
            quality = "- | - | -"
        wrong = f"{sum(s.false_regions > 0 for s in scores)} of {len(scores)}"
        lines.append(f"| {name} | {len(scores)} | {quality} | {regions} | {volume:.2f} | {wrong} |")
    lines += ["", "| tumours | diameter | n | found | median Dice |", "|---|---|---|---|---|"]
    for name, scores in groups.items():
        pairs = [pair for s in scores for pair in s.tumours]
        for low, high in BANDS:
            values = [value for size, value in pairs if low <= size < high]
            if values:
                seen = f"{sum(value > 0 for value in values)}"
                lines.append(
                    f"| {name} | {low:.0f}-{min(high, 40):.0f} mm | {len(values)} | {seen} "
                    f"| {np.median(values):.3f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Measure on the test seeds (or, to choose settings, on the validation seeds)."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bundle", type=Path, default=BUNDLE)
    options.add_argument("--slices", type=int, default=Grid.slices)
    options.add_argument("--matrix", type=int, default=Grid.matrix)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--threads", type=int, default=1, help="of each worker")
    options.add_argument("--only", default="", help="rows whose name starts so")
    options.add_argument("--validation", action="store_true")
    given = options.parse_args()
    grid = Grid(given.slices, given.matrix)
    groups = {
        "plain": plain_cases(grid),
        "hard": hard_cases(grid),
        "empty, plain": [c for c in empty_cases(grid) if c.preset == "plain"],
        "empty, hard": [c for c in empty_cases(grid) if c.preset == "hard"],
    }
    if given.validation:
        groups = {
            "validation": [c for c in validation_cases() if c.tumours],
            "validation, empty": [c for c in validation_cases() if not c.tumours],
        }
    groups = {name: cases for name, cases in groups.items() if name.startswith(given.only)}
    with ProcessPoolExecutor(
        given.workers,
        mp_context=get_context("spawn"),
        initializer=_start,
        initargs=(given.bundle, given.threads),
    ) as pool:
        scores = {name: list(pool.map(measure, cases)) for name, cases in groups.items()}
    print(tables(scores))
    seconds = [s.seconds for group in scores.values() for s in group]
    print(f"\nInference: median {np.median(seconds):.1f} s, {given.workers} at once.")


if __name__ == "__main__":
    main()
