"""Requests as the site writes them and events as a lab tells them, for tests on a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aio_pika
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from messages import topology
from messages.codec import encode
from messages.events import (
    InferenceAccepted,
    InferenceCompleted,
    InferenceProgressed,
    ModelReference,
    RunEvent,
    Stage,
)
from messages.lab import LabHeartbeat, LabModel
from messages.request import InferenceRequested, InputSeries
from tests.integration.nodes import LABS, TestBroker
from web.broker.tasks import BrokerTasks
from web.inference.models import InferenceRequest
from web.inference.outbox import enqueue_on_commit
from web.inference.record import record, record_event
from web.inference.states import State
from web.inference.triggers import ResultFound
from web.labs import registry

ORTHANC_ID = "-".join(["0123abcd"] * 5)

USED_QUEUES = (
    *(topology.requests_queue(pool) for pool in topology.POOLS),
    *(topology.replies_queue(pool) for pool in topology.POOLS),
    *(topology.progress_queue(pool) for pool in topology.POOLS),
    topology.DEAD_QUEUE,
)

#: The outcomes of lab1's pool.
REPLIES = topology.replies_queue("lab")


def known_labs() -> None:
    """Staff have confirmed the labs of every test broker."""
    for name, pool in LABS.items():
        registry.confirm(name, pool)


def write_request(pool: str = "lab") -> InferenceRequest:
    """A request with its outbox row, as `submit` writes them."""
    message = InferenceRequested(
        request_id=uuid4(),
        attempt=1,
        pool=pool,
        model="breast_dce_phantom",
        study_uid="1.2.3",
        inputs=(
            InputSeries(role="image", series_id=ORTHANC_ID, series_uid="1.2.3.4", instance_count=3),
        ),
        deadline_s=3600,
    )
    with transaction.atomic():
        row = InferenceRequest.objects.create(
            id=message.request_id,
            pool=message.pool,
            model=message.model,
            study_id=ORTHANC_ID,
            study_uid=message.study_uid,
            inputs=message.model_dump(mode="json", exclude_none=True)["inputs"],
            deadline_s=message.deadline_s,
        )
        enqueue_on_commit(row, message, exchange=topology.REQUESTS, routing_key=message.routing_key)
    return row


written_request = sync_to_async(write_request)


@sync_to_async
def stored(request_id: UUID) -> InferenceRequest:
    return InferenceRequest.objects.get(pk=request_id)


def place(request_id: UUID, sequence: int, attempt: int = 1, delivery: int = 0) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "attempt": attempt,
        "delivery": delivery,
        "sequence": sequence,
        "lab": "lab1",
        "at": datetime.now(UTC),
    }


def a_run(request_id: UUID) -> list[RunEvent]:
    return [
        InferenceAccepted(**place(request_id, 0)),
        *(
            InferenceProgressed(**place(request_id, i), stage=stage, done=i, total=3)
            for i, stage in enumerate(Stage, start=1)
        ),
        InferenceCompleted(
            **place(request_id, 4),
            sr_instance_id=ORTHANC_ID,
            seg_instance_id=ORTHANC_ID,
            tumor_detected=True,
            volume_voxels=1200,
            volume_ml=1.2,
            longest_diameter_mm=14.5,
            slices=134,
            slices_with_tumor=9,
            model=ModelReference(name="breast_dce_phantom", version="1", sha256="0" * 64),
            stage_seconds={"inferring": 2.5},
        ),
    ]


def take_in(event: RunEvent) -> bool:
    """What the site does with an event; of a report that it has found the result as it was told.

    For tests that need a result and no archive. Call it inside a transaction.
    """
    changed = record_event(event)
    if not isinstance(event, InferenceCompleted):
        return changed
    told = event.model_dump(mode="json", exclude=set(RunEvent.model_fields), exclude_none=True)
    figures = {"seg_instance_id": None, **told}
    found = ResultFound(at=timezone.now(), figures=figures, lab=event.lab)
    return record(event.request_id, found) or changed


class LabSide:
    """What the other end of the broker does, over a real connection, as the user of a lab."""

    def __init__(
        self,
        channel: aio_pika.abc.AbstractChannel,
        user: str = "lab1",
        *,
        sees: aio_pika.abc.AbstractChannel,
    ) -> None:
        """`sees`: a channel of a user who is shown every queue, which a lab is not."""
        self.channel = channel
        self.user = user
        self.sees = sees
        self.pool = LABS[user]

    async def tell(self, *events: RunEvent | LabHeartbeat | LabModel) -> None:
        exchange = await self.channel.get_exchange(
            topology.events_exchange(self.pool), ensure=False
        )
        for event in events:
            wire = encode(event, app_id="test-lab", user_id=self.user)
            message = aio_pika.Message(
                wire.body,
                content_type=wire.content_type,
                type=wire.type,
                message_id=wire.message_id,
                correlation_id=wire.correlation_id,
                timestamp=wire.timestamp,
                delivery_mode=2,
                user_id=self.user,
            )
            await exchange.publish(message, event.ROUTING_KEY, timeout=5)

    async def tell_raw(self, key: str, body: bytes, **properties: Any) -> None:
        exchange = await self.channel.get_exchange(
            topology.events_exchange(self.pool), ensure=False
        )
        properties = {"user_id": self.user, **properties}
        message = aio_pika.Message(body, delivery_mode=2, **properties)
        await exchange.publish(message, key, timeout=5)

    async def take(self, timeout: float = 5.0) -> aio_pika.abc.AbstractIncomingMessage:  # noqa: ASYNC109
        queue = await self.channel.get_queue("mri.requests.lab", ensure=False)
        deadline = time.monotonic() + timeout
        while True:
            message = await queue.get(no_ack=True, fail=False)
            if message is not None:
                return message
            assert time.monotonic() < deadline, "no request arrived"
            await asyncio.sleep(0.02)

    async def waiting(self, queue: str) -> int:
        """Messages that are ready in a queue; what a consumer holds is not counted."""
        declared = await self.sees.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def has_waiting(self, queue: str, count: int) -> None:
        """Wait until so many are ready: what a consumer held is so a moment after its end."""

        async def so_many() -> bool:
            return await self.waiting(queue) == count

        await eventually(so_many, f"{count} ready in {queue}")


async def _empty(broker: TestBroker) -> None:
    admin = await aio_pika.connect(broker.url("admin"))
    async with admin:
        channel = await admin.channel()
        for name in USED_QUEUES:
            await (await channel.get_queue(name, ensure=False)).purge()


@asynccontextmanager
async def lab_side(
    broker: TestBroker, *, shared: bool = True, user: str = "lab1"
) -> AsyncIterator[LabSide]:
    """Connect as a lab that is known; on a shared broker only after the queues were emptied."""
    await sync_to_async(known_labs)()
    if shared:
        await _empty(broker)
    async with speaking_as(broker, user) as lab:
        yield lab


@asynccontextmanager
async def speaking_as(broker: TestBroker, user: str) -> AsyncIterator[LabSide]:
    """Connect as a lab of the broker, whether or not the site knows it."""
    connection = await aio_pika.connect(broker.url(user))
    admin = await aio_pika.connect(broker.url("admin"))
    async with connection, admin:
        yield LabSide(await connection.channel(), user, sees=await admin.channel())


async def eventually(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """Await `condition` again and again until it is truthy; return what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        if value := await condition():
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running_tasks(broker: TestBroker) -> AsyncIterator[BrokerTasks]:
    site = BrokerTasks([broker.url("web")])
    site.start()
    try:
        yield site
    finally:
        await site.stop()


async def in_state(request_id: UUID, state: State, seconds: float = 10.0) -> InferenceRequest:
    async def reached() -> InferenceRequest | None:
        row = await stored(request_id)
        return row if row.state == state else None

    row: InferenceRequest = await eventually(reached, f"state {state}", seconds)
    return row
