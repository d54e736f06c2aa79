"""A study of 4 x 134 slices of 256 x 256, from the click to `completed`, stage by stage.

    python -m benchmarks.stages

Beside it, on the same archive and with the same bundle, the plain script of
`benchmarks.plain_script`. The two take turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import head, markdown, row
from benchmarks.page import Page
from benchmarks.peer import line_process
from infra.demo.reader import Reader
from infra.demo.stack import BUNDLES, PAGE_USER, Ports, Stack
from infra.demo.study import ensure_stored
from infra.local.settings import child_environment
from infra.phantom.grid import Grid
from messages.phases import DCE_ROLES

#: Seed of the phantom: two tumours; not used in training.
SEED = 2

#: The bundle that ships.
BUNDLE = BUNDLES / "breast_dce_phantom"

#: Seconds for one analysis.
PATIENCE = 600.0

#: The goal for everything but inference, in seconds.
GOAL = 3.0

#: Seconds by part of one analysis.
Seconds = dict[str, float]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--warm-up", type=int, default=1)
    options.add_argument("--slices", type=int, default=134)
    options.add_argument("--matrix", type=int, default=256)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="labrelay-stages-") as temporary:
        root = Path(temporary)
        # What is measured begins with a study that is there.
        stack = Stack(root / "var", Ports.free(), web_settings={"WAIT_FOR_WHOLE_SERIES": "false"})
        try:
            stack.start(_say)
            study = ensure_stored(
                stack.orthanc, root / "phantoms", SEED, _say, Grid(given.slices, given.matrix)
            )
            ours, theirs = measure(stack, study, given.runs, given.warm_up)
        finally:
            stack.stop()
    print(report(ours, theirs))


def measure(
    stack: Stack, study: dict[str, Any], runs: int, warm_up: int
) -> tuple[list[Seconds], list[Seconds]]:
    """Click and run the script in turn; the warm-up is left out of what is returned."""
    ours, theirs = [], []
    archive = {
        "archive": stack.orthanc.url,
        "user": stack.orthanc.user,
        "password": stack.orthanc.password,
        "bundle": str(BUNDLE),
    }
    with (
        line_process(
            (sys.executable, "-m", "benchmarks.plain_script"), child_environment()
        ) as script,
        Reader(stack.url, PAGE_USER, stack.page_password) as reader,
        Page(reader) as page,
    ):
        json.loads(script(json.dumps(archive)))
        for number in range(runs + warm_up):
            ours.append(click(reader, page, study))
            theirs.append(json.loads(script(json.dumps(study["series_ids"]))))
            both = [one[-1]["total"] - one[-1]["infer"] for one in (ours, theirs)]
            _say(f"{number + 1} of {runs + warm_up}: {both[0]:.3f} s, the script {both[1]:.3f} s")
            time.sleep(1.0)
    return ours[warm_up:], theirs[warm_up:]


def click(reader: Reader, page: Page, study: dict[str, Any]) -> Seconds:
    """One click: the stages as the lab reports them, and `total` as the page sees it."""
    roles = dict(zip(DCE_ROLES, study["series_ids"], strict=True))
    began = time.time()
    request_id = reader.ask(study["study_id"], roles)["request_id"]
    result = page.outcome(request_id, PATIENCE)["result"]
    completed = page.heard(request_id, frozenset({"completed"}))
    stages: Seconds = result["stage_seconds"]
    return {**stages, "total": completed - began, "voxels": result["volume_voxels"]}


def report(ours: Sequence[Seconds], theirs: Sequence[Seconds]) -> str:
    """Tables in seconds."""
    stages = [key for key in ours[0] if key not in ("total", "voxels")]
    rest: Callable[[Seconds], float] = lambda s: s["total"] - sum(s[key] for key in stages)  # noqa: E731
    own = [row(key, [s[key] for s in ours], digits=3) for key in stages]
    own.append(row("all else: site, broker, database, socket", list(map(rest, ours)), digits=3))
    own.append(row("total: click → completed", [s["total"] for s in ours], digits=3))
    others = [s["total"] - s["infer"] for s in ours]
    own.append(row("**everything but inference**", others, digits=3))
    parts = ("download", "read", "infer", "package", "upload", "total")
    script = [row(key, [s[key] for s in theirs], digits=3) for key in parts]
    plain = [s["total"] - s["infer"] for s in theirs]
    # With the one header that a careful author adds.
    careful = [
        s["total"] - s["infer"] - s["download"] + s["download, uncompressed"] for s in theirs
    ]
    key = "download, uncompressed"
    script.append(row(key, [s[key] for s in theirs], digits=3))
    script.append(row("**everything but inference**", plain, digits=3))
    script.append(row("the same, uncompressed", careful, digits=3))
    goal = (
        f"Goal: everything but inference {GOAL:.0f} s. Ours / the script's, of the medians: "
        f"{median(others) / median(plain):.2f}; with the script's download uncompressed: "
        f"{median(others) / median(careful):.2f}."
    )
    voxels = {int(s["voxels"]) for s in (*ours, *theirs)}
    return "\n\n".join(
        (
            markdown(head("Labrelay", "s"), own),
            markdown(head("plain script", "s"), script),
            goal,
            f"Voxels found, all runs of both: {', '.join(map(str, sorted(voxels)))}.",
        )
    )


def _say(text: str) -> None:
    print(f"[stages] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
