"""The whole system for tests: broker, archive, site and lab, with a bundle that can be held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika

from infra.demo.reader import Reader
from infra.demo.stack import PAGE_USER, Ports, Stack
from infra.local.orthanc import OrthancNode
from messages import topology
from tests.asks_at_once import ASKS_AT_ONCE
from tests.integration.lab import HeldBundle, StoredStudy, store_small_study
from tests.integration.plain_lab import module_for


class AgeingOrthanc(OrthancNode):
    """An archive that calls a series stable after another time than ours."""

    #: Whole seconds, at least one.
    stable_age = 1

    def _configuration(self) -> dict[str, Any]:
        return super()._configuration() | {"StableAge": self.stable_age}


class System:
    """A running stack, seen by a reader who is logged in."""

    def __init__(self, stack: Stack, bundle: HeldBundle) -> None:
        self.stack = stack
        self.bundle = bundle

    def reader(self) -> Reader:
        return Reader(self.stack.url, PAGE_USER, self.stack.page_password)

    def new_study(self) -> StoredStudy:
        return store_small_study(self.stack.orthanc)

    def copies_waiting(self, request_id: str) -> int:
        """Messages of this request that wait for a lab; looked at and given back.

        Others may wait beside it: a lab that lost its connection leaves what it has finished,
        and whoever comes next finds the result stored.
        """
        url = self.stack.rabbitmq.url("admin", self.stack.passwords["admin"])
        connection = pika.BlockingConnection(pika.URLParameters(url))
        try:
            channel = connection.channel()
            copies = 0
            while True:
                method, properties, _ = channel.basic_get(topology.requests_queue("lab"))
                if method is None:
                    return copies
                copies += properties.correlation_id == request_id
        finally:
            # Closing gives back what was not acknowledged.
            connection.close()

    def heal(self) -> None:
        """Let go what is held and start what is down."""
        self.bundle.release()
        stack = self.stack
        if not stack.rabbitmq.broker.alive:
            stack.rabbitmq.start()
            stack.rabbitmq.wait_ready()
        if not stack.web.alive:
            stack.start_web()
        if not stack.consumer.alive:
            stack.consumer.start()

    def lab_log(self) -> str:
        return self.stack.consumer.log.read_text(encoding="utf-8")

    def times(self, action: str, request_id: str) -> int:
        """How often the lab's log names the action for the request."""
        return sum(
            f'"{action}"' in line and request_id in line for line in self.lab_log().splitlines()
        )


def series_by_role(study: StoredStudy) -> dict[str, str]:
    return {item.role: item.series_id for item in study.inputs}


def click(reader: Reader, study: StoredStudy, **more: Any) -> str:
    """Press the button; returns the request id."""
    request_id: str = reader.ask(study.study_id, series_by_role(study), **more)["request_id"]
    return request_id


@contextmanager
def running_system(
    root: Path,
    *,
    web_settings: Mapping[str, str] | None = None,
    stable_age: int | None = None,
    **stack_arguments: Any,
) -> Iterator[System]:
    """Start everything with the held bundle; stop everything at the end.

    With a `stable_age`, in seconds, requests wait for series that are still arriving.
    """
    root.mkdir(parents=True, exist_ok=True)
    bundle = HeldBundle(root)
    stack = Stack(
        root / "var",
        Ports.free(),
        model_path=bundle.path,
        lab_module=module_for(bundle.path),
        web_settings={
            **({} if stable_age else ASKS_AT_ONCE),
            **(web_settings or {}),
        },
        **stack_arguments,
    )
    if stable_age:
        ours = stack.orthanc
        stack.orthanc = AgeingOrthanc(
            ours.root, http_port=ours.http_port, user=ours.user, password=ours.password
        )
        stack.orthanc.stable_age = stable_age
    try:
        stack.start(lambda _text: None)
        yield System(stack, bundle)
    finally:
        stack.stop()
