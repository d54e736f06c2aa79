"""Messages that nobody of ours would send, too often, or out of order: by the broker's users."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel

from infra.demo.stack import LAB, POOL
from infra.local.process import ServiceFailed
from messages import codec, topology
from messages.events import RunEvent
from tests.faults.world import World

#: Marks a copy, so that it is not copied again.
_COPY = "x-test-copy"


@contextmanager
def channel_of(world: World, user: str) -> Iterator[BlockingChannel]:
    """A channel with confirms, as the user, straight to the broker."""
    url = world.stack.rabbitmq.url(user, world.stack.passwords[user])
    # Without heartbeats: nobody tends the connection between two calls.
    with pika.BlockingConnection(pika.URLParameters(f"{url}?heartbeat=0")) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def post(
    world: World,
    exchange: str,
    key: str,
    body: bytes,
    *,
    type_: str | bytes | None,
    content_type: str = "application/json",
    timestamp: int | None = None,
) -> None:
    """Publish these bytes as the user that may write there: the site, or the first lab."""
    user = LAB if exchange == topology.events_exchange(POOL) else "web"
    properties = pika.BasicProperties(
        content_type=content_type,
        delivery_mode=2,
        # pika writes bytes as they are: also a text that is no text.
        type=type_,  # type: ignore[arg-type]
        timestamp=timestamp,
        user_id=user,
    )
    with channel_of(world, user) as channel:
        channel.basic_publish(exchange, key, body, properties)


def tell(channel: BlockingChannel, event: RunEvent, *, user_id: str | None = LAB) -> None:
    """Publish an event as a lab does."""
    wire = codec.encode(event, app_id="test", user_id=user_id)
    properties = pika.BasicProperties(
        content_type=wire.content_type,
        delivery_mode=2,
        message_id=wire.message_id,
        correlation_id=wire.correlation_id,
        type=wire.type,
        timestamp=wire.timestamp,
        app_id=wire.app_id,
        user_id=wire.user_id,
        headers=dict(wire.headers),
    )
    channel.basic_publish(topology.events_exchange(POOL), event.ROUTING_KEY, wire.body, properties)


@dataclass(frozen=True)
class Overheard:
    """A message as it was published."""

    exchange: str
    key: str
    properties: pika.BasicProperties
    body: bytes

    @property
    def about(self) -> str:
        """The id of its request."""
        return str(self.properties.correlation_id)


@contextmanager
def overhear(
    world: World, exchange: str, key: str = "#"
) -> Iterator[Callable[[], list[Overheard]]]:
    """Inside the block: what is published to the exchange, each time anew from its beginning.

    The broker's queues are at rest only once that was asked: what nobody asked for lies there.
    """
    heard: list[Overheard] = []
    with channel_of(world, "admin") as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange, key)

        def all_of_it() -> list[Overheard]:
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return heard
                heard.append(Overheard(exchange, method.routing_key, properties, body))

        yield all_of_it


def publish_again(world: World, messages: Iterable[Overheard]) -> None:
    """Publish them again, unchanged, each as the user that has published it."""
    for user, theirs in groupby(messages, key=lambda message: message.properties.user_id):
        with channel_of(world, user) as channel:
            for message in theirs:
                channel.basic_publish(
                    message.exchange, message.key, message.body, message.properties
                )


class Tap:
    """Hears every event of a request beside the site, and publishes each so often again.

    The copies are the lab's: unchanged, by its user, every other one without a user's name.
    """

    def __init__(self, world: World, *, copies: int = 0) -> None:
        self._world = world
        self._copies = copies
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)
        self._broke: Exception | None = None
        #: Events in the order in which they came, without copies.
        self.heard: list[RunEvent] = []
        #: Copies that the broker has confirmed.
        self.copied = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the tap is not on"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._broke is not None:
            raise ServiceFailed("the tap broke, and heard nothing more") from self._broke

    def _run(self) -> None:
        try:
            self._listen()
        except Exception as exc:  # noqa: BLE001 - said where the tap is taken off
            self._broke = exc

    def _listen(self) -> None:
        with channel_of(self._world, "admin") as channel, channel_of(self._world, LAB) as out:
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, topology.events_exchange(POOL), "request.*")
            self._ready.set()
            # The generator ends no sooner than it is closed: between messages it yields nothing.
            for method, properties, body in channel.consume(
                queue, auto_ack=True, inactivity_timeout=0.2
            ):
                if method is not None and properties is not None and body is not None:
                    self._take(out, method.routing_key, properties, body)
                elif self._stop.is_set():
                    channel.cancel()
                    return

    def _take(self, out: BlockingChannel, key: str, properties: Any, body: bytes) -> None:
        if _COPY in (properties.headers or {}):
            return
        message = codec.decode(body, type_=properties.type)
        assert isinstance(message, RunEvent)
        properties.headers = {**(properties.headers or {}), _COPY: 1}
        for _ in range(self._copies):
            properties.user_id = LAB
            out.basic_publish(topology.events_exchange(POOL), key, body, properties)
            self.copied += 1
        self.heard.append(message)
