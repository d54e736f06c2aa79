"""What the site has to send, and what it was sent and has not acknowledged."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from infra.local.process import wait_until
from messages import topology
from tests.faults.press import Click
from tests.faults.world import PATIENCE, World

_TABLE = "labrelay_inference_outbox"


def is_sent(world: World, click: Click) -> bool:
    """Whether nothing of the request waits to be sent: marked, or taken back with its end."""
    query = f"SELECT COUNT(*) FROM {_TABLE} WHERE request_id = ? AND sent_at IS NULL"  # noqa: S608
    ((unsent,),) = world.ask_database(query, _key(click))
    return int(unsent) == 0


def wait_sent(world: World, click: Click) -> float:
    """Wait for that; returns when it was so, by `time.monotonic`."""
    wait_until(lambda: is_sent(world, click), "mark it as sent", PATIENCE)
    return time.monotonic()


def leased_until(world: World, click: Click) -> datetime:
    """When the lease of the request's one row ends, by the clock of the relay that took it."""
    query = f"SELECT leased_until FROM {_TABLE} WHERE request_id = ?"  # noqa: S608
    ((until,),) = world.ask_database(query, _key(click))
    return datetime.fromisoformat(until).replace(tzinfo=UTC)


def unsettled_replies(world: World) -> int:
    """Replies that the site has been given and has not acknowledged; counted anew each 5 s."""
    return world.queues()[topology.replies_queue("lab")][1]


def waiting_replies(world: World) -> int:
    """Replies that lie in the queue and are in nobody's hand; counted anew each 5 s."""
    messages, unacknowledged = world.queues()[topology.replies_queue("lab")]
    return 0 if unacknowledged else messages


def started_again(world: World) -> float:
    """Start the site; returns when it answered, by `time.monotonic`."""
    world.stack.start_web()
    return time.monotonic()


def with_its_relay(world: World) -> Click:
    """Wait until the site publishes and hears replies, as it does some seconds after its start."""
    click = world.click()
    world.wait_state(click, "completed")
    return click


def _key(click: Click) -> str:
    # Django writes an id into SQLite without hyphens.
    return click.request_id.replace("-", "")
