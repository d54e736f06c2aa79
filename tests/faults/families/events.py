"""Faults of events that can be read and are about nobody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from uuid import UUID, uuid4

from infra.demo.stack import LAB
from infra.local.process import wait_until
from tests.faults.clicks import computing
from tests.faults.invented import one_of_each
from tests.faults.post import channel_of, tell
from tests.faults.rows import row
from tests.faults.undisturbed import Undisturbed, site_said
from tests.faults.world import PATIENCE, World
from tests.integration.lab import stored_objects


@row(
    "messages",
    "events of a request that the site does not know",
    injected="each kind of event for a random request id",
)
def unknown_request(world: World) -> None:
    undisturbed = Undisturbed(world)
    name = uuid4()
    events = one_of_each(name)
    with channel_of(world, LAB) as channel:
        for event in events:
            tell(channel, event)
    wait_until(
        lambda: site_said(world, "event_of_unknown_request", str(name)) == len(events),
        "say so for each",
        PATIENCE,
    )
    world.wait_state(world.click(), "completed")
    assert world.reader.get(f"/api/v1/requests/{name}").status_code == 404
    undisturbed.check()


@row(
    "messages",
    "the row of a request is gone while it runs",
    injected="its rows deleted from the database while the bundle computes, as by a restored copy. "
    "The lab cannot know: it stores a whole result, which stays, and its events are acknowledged "
    "with a line in the log. Nothing is deleted from an archive because of a message about nobody",
)
def row_gone(world: World) -> None:
    undisturbed = Undisturbed(world)
    gone = computing(world)
    world.wait_state(gone, "inferring")
    _delete_row(world, gone.request_id)
    world.forget(gone)
    world.bundle.release()
    world.wait_logged("job.completed", gone.request_id)
    wait_until(
        lambda: site_said(world, "event_of_unknown_request", gone.request_id) > 0,
        "say so",
        PATIENCE,
    )
    assert world.reader.get(f"/api/v1/requests/{gone.request_id}").status_code == 404
    assert stored_objects(world.stack.orthanc, gone.study) == {"SEG": 1, "SR": 1}
    # Whoever asks again for the same gets a request and a result of their own.
    again = world.click(gone.study)
    assert again.request_id != gone.request_id
    world.wait_state(again, "completed")
    undisturbed.check()


def _delete_row(world: World, request_id: str) -> None:
    path = world.stack.root / "web" / "web.sqlite3"
    key = UUID(request_id).hex
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        for table, column in (
            ("requestevent", "request_id"),
            ("outbox", "request_id"),
            ("idempotencykey", "request_id"),
            ("inferencerequest", "id"),
        ):
            database.execute(
                f"DELETE FROM labrelay_inference_{table} WHERE {column} = ?",  # noqa: S608
                (key,),
            )
