"""Two labs finish the same request, and their masks differ."""

from __future__ import annotations

from typing import Any

from tests.faults.archive_door import is_store
from tests.faults.hold import Moment
from tests.faults.labs import VariantBundle, beside, wait_logged
from tests.faults.rows import row
from tests.faults.world import PATIENCE, Click, World

#: Voxels that the world's own bundle marks, and those of the one that marks the left half.
WHOLE, HALF = 32, 16


def _mark(expression: str) -> Any:
    """A change of the bundle: what it multiplies its mask with."""

    def change(inference: dict[str, Any]) -> None:
        *before, last = inference["run"]
        inner = last.removeprefix("$@dataflow.update(pred=").removesuffix(")")
        inference["run"] = [*before, f"$@dataflow.update(pred={inner} * {expression})"]

    return change


#: Columns up to 7: the block lies in 6 to 9.
LEFT_HALF = _mark("(torch.arange(16) < 8).float()")

NOTHING = _mark("0.0")


def _both_finish(world: World, change: Any, moment: Moment) -> dict[str, Any]:
    """The first lab is cut off with its SEG at the archive's door; another lab ends the request.

    Then the first one's call goes on and so does that lab. Returns the result that the page shows.
    """
    world.bundle.hold()
    click: Click = world.click()
    world.wait_inferring()
    other = beside(world, MODEL_PATH=str(VariantBundle(world, change).path))
    world.door.hold(is_store, moment)
    world.bundle.release()
    world.door.wait_held(PATIENCE)
    world.lab_link.cut()
    wait_logged(other, "job.completed", click)
    world.wait_state(click, "completed")
    world.door.release()
    world.lab_link.mend()
    world.wait_logged("job.completed", click.request_id)
    result: dict[str, Any] = world.state(click)["result"]
    return result


@row(
    "lab",
    "two labs finish the same request with different masks; the second stores first",
    injected="the first lab cut off from the broker with its SEG held before the archive; a second "
    "lab, whose bundle of the same name and version marks half, completes; then the first goes on",
)
def different_masks(world: World) -> None:
    result = _both_finish(world, LEFT_HALF, Moment.BEFORE)
    assert result["volume_voxels"] == HALF, "the second lab stored first"


@row(
    "lab",
    "two labs finish the same request with different masks; the first stores and cannot tell",
    injected="the same, with the first lab's SEG stored and the archive's answer held",
)
def different_masks_after_the_first(world: World) -> None:
    result = _both_finish(world, LEFT_HALF, Moment.AFTER)
    assert result["volume_voxels"] == WHOLE, "the first lab stored first"


@row(
    "lab",
    "two labs finish the same request; the second finds nothing and stores first",
    injected="the same, with a second lab whose bundle marks nothing: an SR under the SEG's UID",
)
def nothing_and_a_mask(world: World) -> None:
    result = _both_finish(world, NOTHING, Moment.BEFORE)
    assert not result["tumor_detected"], "the second lab stored first"


@row(
    "lab",
    "two labs finish the same request; the first finds a mask and cannot tell, the second nothing",
    injected="the same, with the first lab's SEG stored and the archive's answer held",
)
def a_mask_and_nothing(world: World) -> None:
    result = _both_finish(world, NOTHING, Moment.AFTER)
    assert result["volume_voxels"] == WHOLE, "the first lab stored first"
