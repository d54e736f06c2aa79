"""A site with an impatient reconciler, requests for a small study, and results as a lab stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import numpy as np
from asgiref.sync import sync_to_async
from django.utils import timezone

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import Figures, Measured
from infra.local.orthanc import OrthancNode
from messages import identity
from messages.lab import LabHeartbeat
from tests.dicom_factory import Series, index, spec
from tests.integration.lab import orthanc_post
from tests.integration.nodes import TestBroker
from tests.integration.web_requests import LabSide, eventually, write_request
from web.broker.tasks import BrokerTasks
from web.confirming.pace import Pace as ConfirmerPace
from web.inference.models import InferenceRequest, RequestEvent
from web.inference.states import State
from web.reconciler.pace import Pace

#: Everything within two seconds; a lab counts as online for 30 s all the same.
QUICK = Pace(
    turn_s=0.1,
    lease_s=1.5,
    heard_s=0.5,
    grace_s=0.3,
    cancel_s=0.3,
    lost_s=0.5,
    gone_s=0.5,
    sure_s=0.5,
    archive_s=600,
)

#: Three answers within a second, and no later look.
QUICK_LOOKS = ConfirmerPace(
    pauses_s=(0.2, 0.4),
    late_s=(),
    failing_s=0.5,
    poll_s=0.1,
    waits_s=(0.1,),
    away_s=0.1,
    fault_s=0.2,
)

#: Seconds in which a reconciler of that pace has looked often enough to do what it must not.
LONG = 3.0

#: That of the requests, as `write_request` makes them.
MODEL = "breast_dce_phantom"

QUEUE = "mri.requests.lab"


@asynccontextmanager
async def site(
    broker: TestBroker, pace: Pace = QUICK, looks: ConfirmerPace = QUICK_LOOKS
) -> AsyncIterator[BrokerTasks]:
    tasks = BrokerTasks([broker.url("web")], pace, confirming=looks)
    tasks.start()
    try:
        yield tasks
    finally:
        await tasks.stop()


@sync_to_async
def request_for(series: Series, study_id: str) -> InferenceRequest:
    """A request as a click writes it, for a study of one series."""
    row = write_request()
    row.study_id, row.study_uid = study_id, series.study_uid
    row.inputs[0] |= {"series_uid": series.series_uid, "instance_count": series.slices}
    row.save()
    return row


@sync_to_async
def change(request_id: UUID, **columns: Any) -> None:
    InferenceRequest.objects.filter(pk=request_id).update(**columns)


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


@sync_to_async
def history(request_id: UUID) -> list[tuple[str, int, str]]:
    """(state, attempt, code) in order."""
    events = RequestEvent.objects.filter(request_id=request_id)
    return list(events.values_list("state", "attempt", "code"))


class Archive:
    """A real Orthanc with one study, and what a lab would store of it."""

    def __init__(self, node: OrthancNode) -> None:
        self.node = node
        self.series = Series()
        for data in self.series.files():
            self.study_id: str = orthanc_post(node, "/instances", data)["ParentStudy"]

    def store_result(
        self, request_id: UUID, *, found: bool = True, report: bool = True
    ) -> tuple[Figures, str, str]:
        """Let the lab's own code make and measure a result; its figures and the objects' ids."""
        made_by = spec(
            model_name=MODEL,
            request_id=str(request_id),
            primary_series_uid=identity.primary_series_uid(request_id),
            primary_instance_uid=identity.primary_instance_uid(request_id),
            report_series_uid=identity.report_series_uid(request_id),
            report_instance_uid=identity.report_instance_uid(request_id),
        )
        mask = np.zeros((6, 8, 10), np.uint8)
        mask[2:4, 3:6, 4:9] = found
        with MemoryFile() as files, MemoryFile() as voxels:
            source = index(files, image=self.series)
            voxels.write(mask.tobytes())
            primary = reader.package(source, voxels.path, mask.shape, made_by).dicom_bytes
            measured: Measured = reader.measure_stored(primary, source, made_by)
        primary_id = orthanc_post(self.node, "/instances", primary)["ID"]
        report_id = primary_id
        if measured.report and report:
            report_id = orthanc_post(self.node, "/instances", measured.report)["ID"]
        return measured.figures, primary_id, report_id


async def purge(broker: TestBroker, queue: str = QUEUE) -> None:
    """What an operator does by mistake."""
    async with await aio_pika.connect(broker.url("admin")) as admin:
        channel = await admin.channel()
        await (await channel.get_queue(queue, ensure=False)).purge()


async def beat(lab: LabSide, *current: UUID) -> None:
    """The lab says that it is there, and what it holds."""
    at = datetime.now(UTC)
    await lab.tell(
        LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(), current=current, at=at)
    )


def waiting(lab: LabSide, count: int) -> Callable[[], Awaitable[bool]]:
    async def so_many() -> bool:
        return await lab.waiting(QUEUE) == count

    return so_many


async def queued_again(request_id: UUID, attempt: int = 2, seconds: float = 30.0) -> None:
    """Wait until the request is on its way under that attempt."""

    async def sent() -> bool:
        row = await InferenceRequest.objects.aget(pk=request_id)
        return row.attempt >= attempt and row.state == State.PUBLISHED

    await eventually(sent, f"published in attempt {attempt}", seconds)
