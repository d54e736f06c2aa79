"""Faults of messages that cannot be read: here never, or only by a newer reader."""

from __future__ import annotations

import itertools
import json
import random
import time
from uuid import uuid4

from pika.exceptions import ChannelClosedByBroker

from infra.local.process import wait_until
from messages import topology
from messages.envelope import Message
from messages.events import InferenceCompleted, InferenceProgressed
from messages.request import InferenceRequested
from tests.faults.clicks import computing
from tests.faults.invented import a_completed, a_progressed
from tests.faults.post import post
from tests.faults.rows import row
from tests.faults.tiers import short_tiers, waiting_in_tiers
from tests.faults.undisturbed import Undisturbed, site_said
from tests.faults.world import PATIENCE, World
from tests.integration.lab import store_small_study, stored_objects

#: Where a request for this world's model goes, and where outcomes and hints go.
KEY, OUTCOME, HINT = "lab.held", InferenceCompleted.ROUTING_KEY, InferenceProgressed.ROUTING_KEY

#: Bytes, for which the broker has no objection and a reader has.
LARGE = 15 * 1024 * 1024

#: Types under which garbage comes: known ones, an unknown one, none, and one that is no text.
TYPES = (
    InferenceRequested.wire_type(),
    InferenceCompleted.wire_type(),
    "nobody.knows.v1",
    None,
    b"\xff\xfe\x80",
)


def _letters(world: World, count: int) -> None:
    """Wait until the site has written so many letters down."""
    wait_until(lambda: world.letters() >= count, f"write down {count} letters", PATIENCE)


@row(
    "messages",
    "garbage in the queue of requests, among the events, the hints and the cancels",
    injected="random bytes and none, of known and unknown types, without one and with one that is "
    "no text: ten to the requests, ten to the outcomes, the same to hints and cancels",
    # What waits in a queue that must not lose anything is kept; hints and cancels are not.
    letters=20,
    in_suite=True,
)
def garbage(world: World) -> None:
    undisturbed = Undisturbed(world)
    computing(world)
    dice = random.Random(5)
    for type_, body in itertools.product(TYPES, (dice.randbytes(300), b"")):
        for exchange, key in (
            (topology.REQUESTS, KEY),
            (topology.events_exchange("lab"), OUTCOME),
            (topology.events_exchange("lab"), HINT),
            (topology.control_exchange("lab"), ""),
        ):
            post(world, exchange, key, body, type_=type_)
    world.bundle.release()
    world.wait_state(world.click(), "completed")
    _letters(world, 20)
    undisturbed.check()


@row(
    "messages",
    "messages of 15 MB",
    injected="a request and a completed event that are right but for a field of 15 MB, and a hint: "
    "refused by our broker, and let through by one that was set up otherwise (max_message_size)",
    letters=2,
)
def fifteen_megabytes(world: World) -> None:
    undisturbed = Undisturbed(world)
    study = store_small_study(world.stack.orthanc)
    request = study.request()
    messages = (
        (topology.REQUESTS, KEY, request),
        (topology.events_exchange("lab"), OUTCOME, a_completed(request.request_id)),
        (topology.events_exchange("lab"), HINT, a_progressed(request.request_id)),
    )
    for exchange, key, message in messages:
        assert not _accepted_by_broker(world, exchange, key, message), "the broker took it"
    node = world.stack.rabbitmq
    before = node.ctl("-q", "eval", "application:get_env(rabbit, max_message_size).").strip()
    try:
        node.ctl("-q", "eval", f"application:set_env(rabbit, max_message_size, {8 * LARGE}).")
        for exchange, key, message in messages:
            assert _accepted_by_broker(world, exchange, key, message), "the broker refused it"
    finally:
        limit = before.removeprefix("{ok,").removesuffix("}")
        node.ctl("-q", "eval", f"application:set_env(rabbit, max_message_size, {limit}).")
    world.wait_state(world.click(), "completed")
    _letters(world, 2)
    assert stored_objects(world.stack.orthanc, study) == {}, "it was worked on"
    undisturbed.check()


def _accepted_by_broker(world: World, exchange: str, key: str, message: Message) -> bool:
    fields = {**message.model_dump(mode="json", exclude_none=True), "more": "x" * LARGE}
    try:
        post(world, exchange, key, json.dumps(fields).encode(), type_=message.wire_type())
    except ChannelClosedByBroker:
        return False
    return True


@row(
    "messages",
    "messages whose fields are wrong",
    injected="requests without a study, for another pool, in another content type; events with a "
    "negative volume, with an id that is none, and a heartbeat among the outcomes",
    letters=6,
)
def wrong_schema(world: World) -> None:
    undisturbed = Undisturbed(world)
    request = store_small_study(world.stack.orthanc).request()
    whole = request.model_dump(mode="json", exclude_none=True)
    type_ = request.wire_type()
    without = {k: v for k, v in whole.items() if k != "study_uid"}
    post(world, topology.REQUESTS, KEY, json.dumps(without).encode(), type_=type_)
    elsewhere = json.dumps({**whole, "pool": "server"}).encode()
    post(world, topology.REQUESTS, KEY, elsewhere, type_=type_)
    text = {"content_type": "text/plain"}
    post(world, topology.REQUESTS, KEY, json.dumps(whole).encode(), type_=type_, **text)
    event = a_completed(uuid4())
    for wrong in ({"volume_voxels": -1}, {"request_id": "42"}):
        fields = {**event.model_dump(mode="json", exclude_none=True), **wrong}
        body = json.dumps(fields).encode()
        post(world, topology.events_exchange("lab"), OUTCOME, body, type_=event.wire_type())
    post(world, topology.events_exchange("lab"), OUTCOME, b"{}", type_="lab.heartbeat.v1")
    world.wait_state(world.click(), "completed")
    _letters(world, 6)
    undisturbed.check()


@row(
    "messages",
    "a request of a future version",
    injected="inference.requested.v2; deferred by the lab into a tier, again and again: expected, "
    "until a newer lab comes. Purged at the end of the row",
)
def future_request(world: World) -> None:
    undisturbed = Undisturbed(world)
    request = store_small_study(world.stack.orthanc).request()
    body = request.model_dump_json(exclude_none=True).encode()
    deferred = world.logged("delivery.defer", "")
    with short_tiers(world):
        now = int(time.time())
        post(world, topology.REQUESTS, KEY, body, type_="inference.requested.v2", timestamp=now)
        world.wait_state(world.click(), "completed")
        # Twice: the copy comes back as it went, and waits again.
        wait_until(
            lambda: world.logged("delivery.defer", "") >= deferred + 2, "defer it twice", PATIENCE
        )
        wait_until(lambda: waiting_in_tiers(world) == 1, "keep it in a tier", PATIENCE)
        _purge(world, *(topology.retry_queue("lab", tier) for tier in topology.RETRY_TIERS))
    undisturbed.check()


def _purge(world: World, *queues: str) -> None:
    for queue in queues:
        world.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "purge_queue", queue)


@row(
    "messages",
    "an event of a future version",
    injected="inference.completed.v2; held by the site in its queue, again and again: expected, "
    "until a newer site comes. Purged at the end of the row",
)
def future_event(world: World) -> None:
    undisturbed = Undisturbed(world)
    event = a_completed(uuid4())
    held = site_said(world, "reply_held")
    body = event.model_dump_json(exclude_none=True).encode()
    post(world, topology.events_exchange("lab"), OUTCOME, body, type_="inference.completed.v2")
    # Beside it the others go on.
    world.wait_state(world.click(), "completed")
    wait_until(lambda: site_said(world, "reply_held") >= held + 2, "hold it twice", PATIENCE)
    undisturbed.check()
    world.stack.web.kill()
    wait_until(
        lambda: world.queues()[topology.replies_queue("lab")] == (1, 0),
        "have it in the queue",
        PATIENCE,
    )
    _purge(world, topology.replies_queue("lab"))
    world.stack.start_web()
