"""Writes one simulated study: `python -m infra.phantom --seed 7 --preset plain --out DIR`."""

import argparse
from pathlib import Path

from infra.phantom.dicom import write_study
from infra.phantom.grid import Grid
from infra.phantom.presets import PRESETS
from infra.phantom.study import simulate


def main() -> None:
    """Simulate, write, and print what was written."""
    options = argparse.ArgumentParser(prog="python -m infra.phantom", description=__doc__)
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--preset", choices=sorted(PRESETS), default="plain")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--slices", type=int, default=Grid.slices)
    options.add_argument("--matrix", type=int, default=Grid.matrix)
    options.add_argument("--tumours", type=int, choices=range(4), help="default: from the seed")
    given = options.parse_args()
    study = simulate(given.seed, given.preset, Grid(given.slices, given.matrix), given.tumours)
    written = write_study(study, given.out)
    print(f"study   {written.study_instance_uid}")
    for uid in written.series_instance_uids:
        print(f"phase   {uid}")
    for lesion in study.lesions:
        print(f"tumour  {lesion.shape}, {lesion.diameter_mm:.1f} mm, {lesion.volume_ml:.2f} ml")
    print(f"files   {len(written.files)} under {given.out / 'dicom'}; truth in {written.truth}")


if __name__ == "__main__":
    main()
