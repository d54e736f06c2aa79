"""Studies in the archive: a phantom with its truth beside it, and files as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from infra.local.orthanc import OrthancNode
from infra.phantom.dicom import write_study
from infra.phantom.grid import Grid
from infra.phantom.study import simulate


def ensure_stored(
    archive: OrthancNode,
    directory: Path,
    seed: int,
    say: Callable[[str], None],
    grid: Grid | None = None,
) -> dict[str, Any]:
    """Simulate the study once, store it unless the archive has it, and say where it is.

    Returns ``study_uid``, ``series_uids`` in phase order, ``study_id`` and ``series_ids`` (the
    archive's), and ``truth``, the path of a file that never enters the archive.
    """
    home = directory / f"seed-{seed}"
    note = home / "study.json"
    with httpx.Client(
        base_url=archive.url, auth=(archive.user, archive.password), timeout=60.0
    ) as client:
        known: dict[str, Any] = json.loads(note.read_text("utf-8")) if note.exists() else {}
        if known and _id_of(client, known["study_uid"], "Study"):
            return known
        say("simulating a four-phase breast study")
        written = write_study(simulate(seed, grid=grid), home)
        say(f"storing it: {len(written.files)} instances")
        for path in written.files:
            client.post("/instances", content=path.read_bytes()).raise_for_status()
            # The archive has it now; the disk need not.
            path.unlink()
        known = {
            "study_uid": written.study_instance_uid,
            "series_uids": list(written.series_instance_uids),
            "study_id": _id_of(client, written.study_instance_uid, "Study"),
            "series_ids": [_id_of(client, u, "Series") for u in written.series_instance_uids],
            "truth": str(written.truth),
        }
    note.write_text(json.dumps(known, indent=2), encoding="utf-8")
    return known


def store_files(
    archive: OrthancNode, files: Sequence[Path], what: str, say: Callable[[str], None]
) -> None:
    """Store DICOM files; quiet about those that the archive has already."""
    with httpx.Client(
        base_url=archive.url, auth=(archive.user, archive.password), timeout=60.0
    ) as client:
        answers = [
            client.post("/instances", content=file.read_bytes()).raise_for_status().json()
            for file in files
        ]
    if any(answer["Status"] != "AlreadyStored" for answer in answers):
        say(f"stored {what}: {len(files)} instances")


def _id_of(client: httpx.Client, uid: str, level: str) -> str | None:
    found = client.post("/tools/lookup", content=uid).raise_for_status().json()
    return next((item["ID"] for item in found if item["Type"] == level), None)
