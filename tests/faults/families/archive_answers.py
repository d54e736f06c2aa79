"""Faults of an archive that answers and whose answer is not true, not whole, or of another time."""

from __future__ import annotations

import io
from collections.abc import Callable

import requests
from pydicom.uid import generate_uid

from tests.faults.archive_door import Wrong, is_download, is_read_back, is_store
from tests.faults.clicks import computing
from tests.faults.rows import row
from tests.faults.stored import read_instance
from tests.faults.tiers import short_tiers
from tests.faults.trials import after_tiers, click_not_taken, failed_with
from tests.faults.world import PATIENCE, World
from tests.integration.lab import orthanc_get, orthanc_post, stored_objects

#: Of each phase of a study here.
SLICES = 6


@row(
    "archive",
    "the answer is lost after the upload was stored",
    injected="the door stores the primary object and closes the connection without an answer",
    measures="answer lost to completed, of which 30 s are the first tier",
    in_suite=True,
)
def answer_lost(world: World) -> float:
    world.door.go_wrong(Wrong.ANSWER_LOST, is_store)
    recovery = after_tiers(world, world.click(), attempts=2)
    assert world.inferences == 1, "what was stored was computed again"
    return recovery


@row(
    "archive",
    "the answer is lost after the report was stored",
    injected="the door passes the first store and loses the answer of the second; short tiers",
)
def reports_answer_lost(world: World) -> None:
    with short_tiers(world):
        world.door.go_wrong(Wrong.ANSWER_LOST, _second(is_store))
        after_tiers(world, world.click(), attempts=2)
    assert world.inferences == 1, "what was stored was computed again"


def _second(where: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    """All calls of the kind but the first."""
    seen: list[str] = []

    def but_the_first(method: str, path: str) -> bool:
        if not where(method, path):
            return False
        seen.append(path)
        return len(seen) > 1

    return but_the_first


@row(
    "archive",
    "a download ends in the middle",
    injected="the door sends half of a series and closes the connection",
    measures="broken off to completed, of which 30 s are the first tier",
)
def download_truncated(world: World) -> float:
    world.door.go_wrong(Wrong.TRUNCATED, is_download)
    return after_tiers(world, world.click(), attempts=2)


@row(
    "archive",
    "the reading back of the stored result ends in the middle",
    injected="the door sends half of the stored object and closes the connection; short tiers",
)
def read_back_truncated(world: World) -> None:
    with short_tiers(world):
        world.door.go_wrong(Wrong.TRUNCATED, is_read_back)
        after_tiers(world, world.click(), attempts=2)
    assert world.inferences == 1, "what was stored was computed again"


@row(
    "archive",
    "an upload is accepted and not stored",
    injected="the door answers Success to the store of the primary object and stores nothing",
    measures="false answer to completed, of which 30 s are the first tier",
)
def accepted_not_stored(world: World) -> float:
    world.door.go_wrong(Wrong.NOT_STORED, is_store)
    recovery = after_tiers(world, world.click(), attempts=2)
    assert world.inferences == 2, "a result was told that nobody has"
    return recovery


@row(
    "archive",
    "the report is accepted and not stored",
    injected="the door passes the first store and answers a false Success to the second",
)
def report_not_stored(world: World) -> None:
    with short_tiers(world):
        world.door.go_wrong(Wrong.NOT_STORED, _second(is_store))
        after_tiers(world, world.click(), attempts=2)
    assert world.inferences == 1, "what was stored was computed again"


@row(
    "archive",
    "a series is deleted before the lab reads it",
    injected="DELETE of the last phase while the request waits in the queue",
    allowed=("failed",),
)
def series_deleted(world: World) -> None:
    click = click_not_taken(world)
    _delete(world, f"/series/{click.study.inputs[-1].series_id}")
    world.resume(world.lab)
    world.wait_state(click, "failed")
    failed_with(world, click, "series_not_found")
    assert stored_objects(world.stack.orthanc, click.study) == {}


@row(
    "archive",
    "a series grows before the lab reads it",
    injected="one more slice stored in the last phase while the request waits in the queue",
    allowed=("failed",),
)
def series_grown(world: World) -> None:
    click = click_not_taken(world)
    _grow(world, click.study.inputs[-1].series_id)
    world.resume(world.lab)
    world.wait_state(click, "failed")
    failed_with(world, click, "series_changed")
    assert stored_objects(world.stack.orthanc, click.study) == {}


@row(
    "archive",
    "a series is deleted between two downloads",
    injected="DELETE of the last phase while the lab's third download is held",
    allowed=("failed",),
)
def series_deleted_between_downloads(world: World) -> None:
    world.door.hold(is_download, skip=2)
    click = world.click()
    world.door.wait_held(PATIENCE)
    _delete(world, f"/series/{click.study.inputs[-1].series_id}")
    world.door.release()
    world.wait_state(click, "failed")
    failed_with(world, click, "series_not_found")
    assert world.inferences == 0, "what was not whole was computed"


@row(
    "archive",
    "the study is deleted in the inference",
    injected="DELETE of the study while a bundle computes",
    allowed=("failed",),
)
def study_deleted_in_the_inference(world: World) -> None:
    click = computing(world)
    _delete(world, f"/studies/{click.study.study_id}")
    world.bundle.release()
    world.wait_state(click, "failed")
    failed_with(world, click, "series_not_found")
    studies = orthanc_get(world.stack.orthanc, "/studies")
    assert click.study.study_id not in studies, "an upload brought the study back"


@row(
    "archive",
    "a series grows in the inference",
    injected="one more slice stored in the last phase while a bundle computes; the result is that "
    "of the images that were asked for",
)
def series_grown_in_the_inference(world: World) -> None:
    click = computing(world)
    _grow(world, click.study.inputs[-1].series_id)
    world.bundle.release()
    world.wait_state(click, "completed")
    assert world.state(click)["result"]["slices"] == SLICES, "another series was measured"


def _delete(world: World, path: str) -> None:
    node = world.stack.orthanc
    answer = requests.delete(node.url + path, auth=(node.user, node.password), timeout=30)
    answer.raise_for_status()


def _grow(world: World, series_id: str) -> None:
    """Store one more slice, one spacing behind the last."""
    node = world.stack.orthanc
    first, *_, last = (
        read_instance(node, i) for i in orthanc_get(node, f"/series/{series_id}")["Instances"]
    )
    step = [
        b - a for a, b in zip(first.ImagePositionPatient, last.ImagePositionPatient, strict=True)
    ]
    new = last
    new.SOPInstanceUID = new.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    new.InstanceNumber = int(last.InstanceNumber) + 100
    new.ImagePositionPatient = [
        f"{a + 9 * b:.6g}" for a, b in zip(last.ImagePositionPatient, step, strict=True)
    ]
    file = io.BytesIO()
    new.save_as(file)
    orthanc_post(node, "/instances", file.getvalue())
