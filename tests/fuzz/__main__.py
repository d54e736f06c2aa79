"""``make fuzz MINUTES=10 SEED=7``: hostile files at random, in the real reader child.

A trial depends on the seed and its number alone; ``--trial`` repeats one. What must not happen (a
lost child, a limit of time, a traceback, a value of the patient) is a finding: its files are
written to ``var/fuzz``, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from infra.local.settings import VAR
from tests.bad_inputs.study import Study
from tests.fuzz.trials import Outcome, Said, changed_study, tried, working


def main() -> int:
    """Run trials until the time is over, and tell what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--trial", type=int, help="run only this one")
    asked = parser.parse_args()
    numbers = range(sys.maxsize) if asked.trial is None else (asked.trial,)
    print(f"seed {asked.seed}", flush=True)
    seen: Counter[str] = Counter()
    findings = 0
    latest = time.monotonic() + asked.minutes * 60
    told = time.monotonic()
    with Said() as said, working() as children:
        for number in numbers:
            study = changed_study(Random(f"{asked.seed}:{number}"))
            outcome = tried(children, study)
            heard = said.finding()
            seen[outcome.text.partition(":")[0]] += 1
            if outcome.finding or heard:
                findings += 1
                _keep(VAR / "fuzz" / f"{asked.seed}-{number}", study, outcome, heard)
                print(f"trial {number}: {outcome.text[:300]}", flush=True)
            if time.monotonic() > told + 30:
                told = time.monotonic()
                print(f"{number + 1} trials, {findings} findings", flush=True)
            if time.monotonic() > latest:
                break
    for code, count in seen.most_common():
        print(f"{count:7} {code}")
    print(f"{seen.total()} trials, {findings} findings")
    return 1 if findings else 0


def _keep(folder: Path, study: Study, outcome: Outcome, heard: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "outcome.txt").write_text(f"{outcome.text}\n{heard}", encoding="utf-8")
    for phase in study.phases:
        for number, data in enumerate(phase.files, 1):
            (folder / f"{phase.role}-{number}.dcm").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
