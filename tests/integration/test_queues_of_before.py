"""A broker that was there before: what old labs say is heard, once, beside what new ones say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aio_pika
import pytest
from asgiref.sync import sync_to_async

from messages import topology, topology_before
from messages.codec import encode
from messages.lab import LabHeartbeat
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.web_requests import (
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    running_tasks,
    stored,
    written_request,
)
from web.inference.models import DeadLetter, RequestEvent
from web.inference.states import State
from web.labs.models import Lab

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

PATIENCE = 60.0


class OldLab(LabSide):
    """One that knows no exchange of its pool."""

    async def tell_as_before(self, *events: object) -> None:
        exchange = await self.channel.get_exchange(topology_before.EVENTS, ensure=False)
        for event in events:
            wire = encode(event, app_id="old", user_id=self.user)  # type: ignore[arg-type]
            message = aio_pika.Message(
                wire.body,
                content_type=wire.content_type,
                type=wire.type,
                timestamp=wire.timestamp,
                user_id=self.user,
            )
            await exchange.publish(message, event.ROUTING_KEY, timeout=5)  # type: ignore[attr-defined]


def _upgraded(broker: TestBroker) -> None:
    file = broker.node.root / "upgrade.json"
    file.write_text(topology_before.rendered())
    broker.node.ctl("-q", "import_definitions", str(file))
    # The permissions of the version before.
    old = ("set_permissions", "-p", topology.VHOST, "lab1", "^$", r"^mri\..*", r"^mri\..*")
    broker.node.ctl("-q", *old)
    broker.node.ctl("-q", "clear_topic_permissions", "-p", topology.VHOST, "lab1")


async def test_an_old_lab_and_a_new_one_are_heard_beside_each_other_and_each_event_once(
    tmp_path: Path,
) -> None:
    with running_rabbit(tmp_path / "rabbit") as broker:
        await asyncio.to_thread(_upgraded, broker)
        async with lab_side(broker, shared=False) as new, running_tasks(broker):
            old = OldLab(new.channel, sees=new.sees)
            first, second = await written_request(), await written_request()
            beat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", at=a_run(first.pk)[0].at)
            await old.tell_as_before(beat, *a_run(first.pk))
            # By the bridges it comes to both queues.
            await new.tell(*a_run(second.pk))
            for row in (first, second):
                await in_state(row.pk, State.REPORTED, PATIENCE)

            async def heard() -> bool:
                return (await Lab.objects.aget(name="lab1")).last_seen is not None

            await eventually(heard, "the heartbeat", PATIENCE)
            for queue in (topology_before.REPLIES_QUEUE, topology.replies_queue("lab")):
                await new.has_waiting(queue, 0)

            async def marked() -> bool:
                # The relay notes a publish whatever was heard meanwhile.
                return (await stored(second.pk)).published_at is not None

            await eventually(marked, "the note that it was published", PATIENCE)
            version = (await stored(second.pk)).version
            states = [event.state async for event in RequestEvent.objects.filter(request=second)]
        assert states.count(State.REPORTED) == 1
        assert (await stored(second.pk)).version == version
    assert await sync_to_async(DeadLetter.objects.count)() == 0
