"""200 blocking calls of the old front end on one site process, and beside it Django's own way.

    python -m benchmarks.waiters

The site runs with a real broker and archive and without a lab: the outcomes are published here,
all at once, as a lab would. The peer waits in async views behind Django's ASGI handler, in a
process of its own with the same database. Threads, memory and open database connections are read
from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from statistics import median
from uuid import UUID

import aio_pika
import httpx

from benchmarks.figures import markdown
from benchmarks.latency import Log
from infra.demo.stack import LAB, Ports, Stack
from infra.local.ports import free_ports
from infra.local.process import Service, wait_until
from infra.local.settings import REPOSITORY
from messages import topology
from messages.codec import encode
from messages.events import InferenceCompleted, ModelReference
from tests.integration.lab import store_small_study
from tests.integration.system import System

BASE = "/api/mri/segmentation"

#: Seconds for all calls to wait, and for all answers to come.
PATIENCE = 90.0

#: Seconds of quiet before a look at a process.
QUIET = 3.0


@dataclass(frozen=True)
class Look:
    """One process at one moment."""

    threads: int
    #: Resident memory in MiB.
    memory: float
    #: Open SQLite connections: descriptors of the database file itself.
    connections: int

    @classmethod
    def at(cls, pid: int) -> Look:
        """Read /proc."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        connections = 0
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                connections += entry.readlink().name == "web.sqlite3"
            except OSError:
                # Closed meanwhile.
                continue
        return cls(int(status["Threads"]), int(status["VmRSS"].split()[0]) / 1024, connections)


@dataclass(frozen=True)
class Run:
    """One process before, while and after so many calls waited."""

    name: str
    #: Before, while all waited, after.
    looks: tuple[Look, Look, Look]
    #: Seconds from the first call that was sent until all waited.
    taken_in: float
    #: Seconds from the change that ended the wait to each answer: ours from the log line of the
    #: row's change, the peer's from the one moment at which all were let go.
    answers: list[float]


@dataclass(frozen=True)
class Process:
    """Where the calls go."""

    name: str
    pid: int
    url: str
    cookies: dict[str, str]


#: Makes one call and returns what was answered.
Call = Callable[[httpx.AsyncClient], Awaitable[str]]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--calls", type=int, default=200)
    calls = options.parse_args().calls
    with tempfile.TemporaryDirectory(prefix="labrelay-waiters-") as temporary:
        settings = {"LEGACY_WAIT_SECONDS": "180", "WAIT_FOR_WHOLE_SERIES": "false"}
        stack = Stack(Path(temporary), Ports.free(), web_settings=settings)
        try:
            stack.start(lambda _text: None, with_lab=False)
            runs = asyncio.run(measure(stack, calls))
        finally:
            stack.stop()
    print(report(runs, calls))


async def measure(stack: Stack, calls: int) -> list[Run]:
    """Ours first, then the peer on the same requests."""
    # The same series in the same order would be one request; each order is a wish of its own.
    orders: list[tuple[str, ...]] = []
    while len(orders) < calls:
        study = store_small_study(stack.orthanc)
        orders += permutations(item.series_id for item in study.inputs)
    with System(stack, None).reader() as reader:  # type: ignore[arg-type]
        cookies = {"sessionid": reader._client.cookies["sessionid"]}  # noqa: SLF001
    ours, request_ids = await site(stack, orders[:calls], cookies)
    return [ours, await peer(stack, cookies, request_ids)]


async def site(
    stack: Stack, orders: Sequence[tuple[str, ...]], cookies: dict[str, str]
) -> tuple[Run, list[str]]:
    """The calls as the old viewer makes them, each for series of its own or in another order."""

    def call_for(series: tuple[str, ...]) -> Call:
        async def call(client: httpx.AsyncClient) -> str:
            url = f"{BASE}/series/{series[0]}/segment/"
            answer = await client.post(url, json={"sequence_series_ids": series})
            answer.raise_for_status()
            request_id: str = answer.json()["request_id"]
            return request_id

        return call

    def stored() -> list[str]:
        database = sqlite3.connect(stack.root / "web" / "web.sqlite3")
        try:
            rows = database.execute("SELECT id FROM labrelay_inference_inferencerequest").fetchall()
        finally:
            database.close()
        return [str(UUID(key)) for (key,) in rows]

    async def all_wait() -> bool:
        return len(stored()) == len(orders)

    async def let_go() -> None:
        await publish(stack, stored())

    process = Process("Labrelay", stack.web.pid or 0, stack.url, cookies)
    looks, taken_in, _, answered = await waited(
        process, list(map(call_for, orders)), all_wait, let_go
    )
    log = Log(stack.web.log)
    spans = [at - log.taken(request_id)[0] for at, request_id in answered]
    return Run(process.name, looks, taken_in, sorted(spans)), stored()


async def peer(stack: Stack, cookies: dict[str, str], request_ids: Sequence[str]) -> Run:
    """The same number of async views."""
    (port,) = free_ports(1)
    command = ("uvicorn", "benchmarks.waiters_peer:application", "--port", str(port))
    service = Service(
        "the peer",
        (sys.executable, "-m", *command, "--log-level", "warning"),
        log=stack.root / "log" / "peer.log",
        env=stack._web_environment,  # noqa: SLF001
        cwd=REPOSITORY,
    )
    service.start()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/waiting/").status_code == 200
        except httpx.HTTPError:
            return False

    def call_for(request_id: str) -> Call:
        async def call(client: httpx.AsyncClient) -> str:
            answer = await client.get(f"/wait/{request_id}/")
            return answer.raise_for_status().text

        return call

    try:
        wait_until(answers, "answer", PATIENCE, service=service)
        async with httpx.AsyncClient(base_url=url, timeout=30) as other:

            async def all_wait() -> bool:
                told = (await other.get("/waiting/")).json()
                return bool(told["waiting"] == len(request_ids))

            async def let_go() -> None:
                (await other.post("/let-go/")).raise_for_status()

            process = Process("Django's ASGI handler", service.pid or 0, url, cookies)
            calls = [call_for(request_id) for request_id in request_ids]
            looks, taken_in, known, answered = await waited(process, calls, all_wait, let_go)
        return Run(process.name, looks, taken_in, sorted(at - known for at, _ in answered))
    finally:
        service.stop()


async def waited(
    process: Process,
    calls: Sequence[Call],
    all_wait: Callable[[], Awaitable[bool]],
    let_go: Callable[[], Awaitable[None]],
) -> tuple[tuple[Look, Look, Look], float, float, list[tuple[float, str]]]:
    """Let the calls wait, look at the process, let them go, and look again.

    Returns the looks, the seconds until all waited, when they were let go, and when each answer
    came, with the answer.
    """
    answered: list[tuple[float, str]] = []

    async def timed(call: Call) -> None:
        answer = await call(client)
        answered.append((time.time(), answer))

    limits = httpx.Limits(max_connections=len(calls))
    async with httpx.AsyncClient(
        base_url=process.url, cookies=process.cookies, timeout=PATIENCE * 2, limits=limits
    ) as client:
        await client.get("/login/")
        await asyncio.sleep(QUIET)
        before = Look.at(process.pid)
        began = time.time()
        tasks = [asyncio.create_task(timed(call)) for call in calls]
        async with asyncio.timeout(PATIENCE):
            while not await all_wait():
                if any(task.done() for task in tasks):
                    await asyncio.gather(*tasks)
                    raise RuntimeError("a call was answered before its outcome")
                await asyncio.sleep(0.05)
        taken_in = time.time() - began
        await asyncio.sleep(QUIET)
        waiting = Look.at(process.pid)
        known = time.time()
        await let_go()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*tasks)
    await asyncio.sleep(QUIET)
    return (before, waiting, Look.at(process.pid)), taken_in, known, answered


async def publish(stack: Stack, request_ids: Sequence[str]) -> None:
    """Tell the outcome of each request as the lab would; returns with the last confirm."""
    connection = await aio_pika.connect(stack.rabbitmq.url(LAB, stack.passwords[LAB]))
    async with connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(topology.events_exchange("lab"), ensure=False)
        nobody = "-".join(["0123abcd"] * 5)
        for request_id in request_ids:
            event = InferenceCompleted(
                request_id=UUID(request_id),
                attempt=1,
                delivery=0,
                sequence=1,
                lab=LAB,
                at=datetime.now(UTC),
                sr_instance_id=nobody,
                seg_instance_id=nobody,
                tumor_detected=True,
                volume_voxels=1200,
                volume_ml=1.2,
                longest_diameter_mm=14.5,
                slices=134,
                slices_with_tumor=9,
                model=ModelReference(name="breast_dce_phantom", version="1", sha256="0" * 64),
                stage_seconds={"infer": 2.5},
            )
            wire = encode(event, app_id="waiters", user_id=LAB)
            message = aio_pika.Message(
                wire.body,
                content_type=wire.content_type,
                type=wire.type,
                message_id=wire.message_id,
                correlation_id=wire.correlation_id,
                timestamp=wire.timestamp,
                delivery_mode=2,
                user_id=LAB,
            )
            await exchange.publish(message, event.ROUTING_KEY, timeout=10)


def report(runs: Sequence[Run], calls: int) -> str:
    """Tables in Markdown, and how busy the machine was."""
    looks = [
        (
            f"{run.name}: {moment}",
            str(look.threads),
            str(look.connections),
            f"{look.memory:.0f}",
        )
        for run in runs
        for moment, look in zip(("before", f"{calls} waiting", "after"), run.looks, strict=True)
    ]
    times = [
        (run.name, f"{run.taken_in:.2f}", f"{median(run.answers):.3f}", f"{run.answers[-1]:.3f}")
        for run in runs
    ]
    load = json.dumps([round(value, 2) for value in os.getloadavg()])
    return "\n\n".join(
        (
            markdown(("process", "threads", "database connections", "memory (MiB)"), looks),
            markdown(("seconds", "until all wait", "end → answer, median", "longest"), times),
            f"Load of the machine over 1, 5 and 15 minutes at the end: {load}.",
        )
    )


if __name__ == "__main__":
    main()
