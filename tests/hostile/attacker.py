"""A lab whose account is in the wrong hands: ``python -m tests.hostile.attacker`` reads its orders.

Orders are one JSON object on standard input: ``url`` of the broker with the lab's credentials,
``lab`` and ``pool``, ``victim`` and ``victim_pool``, ``requests`` (a file with the ids of the
other pool's requests, a line each, which grows by each click while it is open), ``seed`` and
``seconds``. What it did is one JSON object on standard output: how often
each deed was tried, and how often the broker refused it. The seed decides what is done and in
which order; how far it gets is up to the clock.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from messages import topology, topology_before

#: Messages of one burst at most.
BURST = 300

#: Messages a second over the whole run at most: what 2 cores shared with the victim can send
#: without the sending itself being the attack.
RATE = 600.0

_ORTHANC_ID = "-".join(["0badcafe"] * 5)

#: Whole numbers that break something somewhere.
_NUMBERS = (-1, 0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**400, 1.5, "7", None, True)

_TIMES = (
    "2026-11-30T12:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "12026-01-01T00:00:00Z",
    "2026-11-30T12:00:00",
    "now",
    1e30,
)

_NOTICE = "Approved for clinical use."


class Attacker:
    """Does what its account lets it do, and tries what it does not."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._dice = random.Random(orders["seed"])
        self._file = Path(orders["requests"])
        #: Events and heartbeats that named a request while it was the newest, most of them open.
        self.named_newest = 0
        self.tried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.sent = 0
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._names = [
            *(q.name for q in topology.queues(labs={orders["lab"]: orders["pool"]})),
            *(e.name for e in topology.exchanges()),
            *topology_before.queue_names(),
            *topology_before.exchange_names(),
            "mine",
            "",
            f"mri.control.{orders['lab']}.99",
            f"mri.control.{orders['victim']}.1",
            "amq.topic",
            "amq.fanout",
        ]
        self._deeds: list[Callable[[BlockingChannel], None]] = [
            self.forge_events,
            self.forge_events,
            self.break_bounds,
            self.break_bounds,
            self.send_noise,
            self.beat,
            self.describe_models,
            self.write_into_tiers,
            self.declare,
            self.bind,
            self.delete,
            self.swallow,
            self.open_many,
            self.publish_elsewhere,
        ]

    def run(self, seconds: float) -> None:
        """Go on for so long."""
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            deed = self._dice.choice(self._deeds)
            self.tried[deed.__name__] += 1
            try:
                deed(self._open())
            except (AMQPError, OSError, ValueError, TypeError, AssertionError):
                # pika asserts what it cannot encode.
                self.refused[deed.__name__] += 1
            ahead = self.sent / RATE - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(min(ahead, left))
        self._close()

    @property
    def _requests(self) -> list[str]:
        """The ids that are known by now, the newest last."""
        # The last line may be only half written.
        whole = [
            one for one in self._file.read_text(encoding="ascii").splitlines() if len(one) == 36
        ]
        return [str(UUID(one)) for one in whole] or [str(UUID(int=1))]

    def _some_request(self) -> str:
        """The newest every other time, which is most likely open."""
        known = self._requests
        kind = self._dice.randrange(6)
        if kind < 3:
            self.named_newest += 1
            return known[-1]
        return self._uuid() if kind == 5 else self._dice.choice(known)

    def forge_events(self, channel: BlockingChannel) -> None:
        """Outcomes of requests that it never had, under its own or another's name."""
        for _ in range(self._burst()):
            kind = self._dice.choice(
                ["accepted", "completed", "failed", "cancelled", "retry_scheduled", "progressed"]
            )
            self._event(channel, kind, {})

    def break_bounds(self, channel: BlockingChannel) -> None:
        """Events with one field that nothing can hold."""
        kinds: dict[str, list[dict[str, Any]]] = {
            "accepted": [{f: n} for f in ("attempt", "delivery", "sequence") for n in _NUMBERS]
            + [{"at": moment} for moment in _TIMES],
            "completed": [
                {f: n} for f in ("volume_voxels", "volume_ml", "slices") for n in _NUMBERS
            ],
            "progressed": [{f: n} for f in ("done", "total") for n in _NUMBERS],
            "failed": [{"code": "tomorrow"}, {"detail": "x" * 60_000}, {"detail": "\x00"}],
            "retry_scheduled": [{"next_at": moment} for moment in _TIMES],
        }
        for _ in range(self._burst()):
            kind = self._dice.choice(list(kinds))
            self._event(channel, kind, self._dice.choice(kinds[kind]))

    def send_noise(self, channel: BlockingChannel) -> None:
        """Bodies and properties that nobody should write."""
        bodies = (
            b"",
            b"{",
            b"[" * 60_000,
            b'{"a":' * 10_000,
            b"\xff" * 64 * 1024,
            b"9" * 60_000,
            self._dice.randbytes(self._dice.choice([10, 1000, 64 * 1024, 900 * 1024])),
        )
        nested: dict[str, Any] = {}
        for _ in range(60):
            nested = {"x": nested}
        for _ in range(self._burst() // 10 + 1):
            properties = pika.BasicProperties(
                type=self._dice.choice(
                    ["inference.completed.v1", "inference.completed.v9", "x" * 255, "lab.model.v1"]
                ),
                content_type=self._dice.choice(["application/json", "text/html", None]),
                timestamp=self._dice.choice([None, 0, 2**40, 2**62]),
                headers=self._dice.choice([None, nested, {"x-death": "yes"}, {"x-death": [1]}]),
                user_id=self._dice.choice([None, self._orders["lab"]]),
                correlation_id=self._dice.choice([None, "x" * 255, self._some_request()]),
                message_id=self._dice.choice([None, "", "x" * 255]),
                delivery_mode=2,
            )
            self._publish(
                channel, self._events(), self._key(), self._dice.choice(bodies), properties
            )

    def beat(self, channel: BlockingChannel) -> None:
        """Heartbeats under many names, with models that are praised."""
        for number in range(self._burst()):
            name = self._dice.choice(
                [self._orders["lab"], self._orders["victim"], f"ghost{number}", "x" * 63, "../x"]
            )
            body = {
                "lab": name,
                "pool": self._dice.choice([self._orders["pool"], self._orders["victim_pool"], "x"]),
                "device": "cpu",
                "models": [self._model() for _ in range(self._dice.choice([0, 1, 5]))],
                "fingerprints": [self._print() for _ in range(self._dice.choice([0, 1, 64, 65]))],
                "current": self._requests[-20:],
                "condition": "serving",
                "at": self._dice.choice(_TIMES),
            }
            self._send(channel, "lab.heartbeat", "lab.heartbeat.v1", body)

    def describe_models(self, channel: BlockingChannel) -> None:
        """More models than any lab has."""
        for _ in range(self._burst()):
            body = {
                "lab": self._dice.choice([self._orders["lab"], self._orders["victim"]]),
                "pool": self._dice.choice([self._orders["pool"], self._orders["victim_pool"]]),
                "model": self._model(),
                "at": _TIMES[0],
            }
            self._send(channel, "lab.model", "lab.model.v1", body)

    def write_into_tiers(self, channel: BlockingChannel) -> None:
        """Requests of its own making, also for the other pool, also by the header CC."""
        for _ in range(self._burst() // 10 + 1):
            pool = self._dice.choice([self._orders["pool"], self._orders["victim_pool"]])
            body = {
                "request_id": self._some_request(),
                "attempt": 1,
                "pool": pool,
                "model": "held",
                "study_uid": "1.2.3",
                "inputs": [
                    {
                        "role": "image",
                        "series_id": _ORTHANC_ID,
                        "series_uid": "1.2.3",
                        "instance_count": 1,
                    }
                ],
                "deadline_s": 3600,
            }
            other = f"{self._orders['victim_pool']}.held"
            properties = pika.BasicProperties(
                type="inference.requested.v1",
                content_type="application/json",
                headers=self._dice.choice([None, {"CC": [other]}, {"BCC": [other]}]),
                expiration=self._dice.choice([None, "0", "1000"]),
                delivery_mode=2,
            )
            key = f"{self._dice.choice([self._orders['pool'], pool])}.held"
            exchange = topology.retry_exchange(self._orders["pool"], "30s")
            self._publish(channel, exchange, key, json.dumps(body).encode(), properties)

    def declare(self, channel: BlockingChannel) -> None:
        """Queues and exchanges of its own, with a way into what is not."""
        name = self._dice.choice(self._names)
        arguments = self._dice.choice(
            [
                {},
                {"x-dead-letter-exchange": topology.REQUESTS},
                {"alternate-exchange": topology.REQUESTS},
                {"x-queue-type": "quorum"},
                {"x-queue-type": "stream"},
            ]
        )
        if self._dice.random() < 0.5:
            channel.queue_declare(
                name,
                durable=self._dice.random() < 0.5,
                exclusive=self._dice.random() < 0.5,
                arguments=arguments,
            )
        else:
            channel.exchange_declare(name, "topic", durable=True, arguments=arguments)

    def bind(self, channel: BlockingChannel) -> None:
        """Ways from anything to anything."""
        one, other = self._dice.choice(self._names), self._dice.choice(self._names)
        deed = self._dice.choice(
            [
                channel.queue_bind,
                channel.exchange_bind,
                channel.queue_unbind,
                channel.exchange_unbind,
            ]
        )
        deed(one, other, routing_key="#")

    def delete(self, channel: BlockingChannel) -> None:
        """Delete or purge anything."""
        name = self._dice.choice(self._names)
        self._dice.choice([channel.queue_delete, channel.exchange_delete, channel.queue_purge])(
            name
        )

    def swallow(self, channel: BlockingChannel) -> None:
        """Take its pool's work and say nothing."""
        queue = topology.requests_queue(self._dice.choice([self._orders["pool"], "server", "lab"]))
        for _ in range(20):
            method, _, _ = channel.basic_get(queue, auto_ack=self._dice.random() < 0.7)
            if method is None:
                return

    def open_many(self, _channel: BlockingChannel) -> None:
        """As many connections as it gets, given back at once."""
        with ExitStack() as opened:
            for _ in range(40):
                opened.callback(self._connect().close)

    def publish_elsewhere(self, channel: BlockingChannel) -> None:
        """Past its own exchanges."""
        properties = pika.BasicProperties(type="inference.requested.v1", delivery_mode=2)
        self._publish(channel, self._dice.choice(self._names), self._key(), b"{}", properties)

    def _event(self, channel: BlockingChannel, kind: str, change: dict[str, Any]) -> None:
        body: dict[str, Any] = {
            "request_id": self._some_request(),
            "attempt": self._dice.choice([1, 2, 7]),
            "delivery": 0,
            "sequence": self._dice.randrange(100),
            "lab": self._dice.choice([self._orders["lab"], self._orders["victim"]]),
            "at": self._dice.choice(_TIMES[:3]),
        }
        body |= {
            "completed": {
                "sr_instance_id": _ORTHANC_ID,
                "tumor_detected": False,
                "volume_voxels": 0,
                "volume_ml": 0.0,
                "longest_diameter_mm": 0.0,
                "slices": 1,
                "slices_with_tumor": 0,
                "model": {"name": "held", "version": "1", "sha256": "a" * 64},
                "stage_seconds": {},
            },
            "failed": {"code": "series_not_found", "detail": "no", "stage_seconds": {}},
            "retry_scheduled": {"code": "archive_unavailable", "next_at": _TIMES[2]},
            "progressed": {"stage": "inferring", "done": 1, "total": 2},
        }.get(kind, {})
        self._send(channel, f"request.{kind}", f"inference.{kind}.v1", body | change)

    def _send(self, channel: BlockingChannel, key: str, type_: str, body: dict[str, Any]) -> None:
        user = self._dice.choice([self._orders["lab"]] * 6 + [None])
        properties = pika.BasicProperties(
            type=type_, content_type="application/json", user_id=user, delivery_mode=2
        )
        self._publish(channel, self._events(), key, json.dumps(body).encode(), properties)

    def _publish(
        self,
        channel: BlockingChannel,
        exchange: str,
        key: str,
        body: bytes,
        properties: pika.BasicProperties,
    ) -> None:
        self.sent += 1
        channel.basic_publish(exchange, key, body, properties)

    def _model(self) -> dict[str, Any]:
        return {
            "name": self._dice.choice(["held", "m", f"m{self._dice.randrange(10_000)}"]),
            "version": str(self._dice.randrange(100)),
            "sha256": self._print(),
            "roles": ["pre", "post1", "post2", "last"],
            "labels": ["lesion"] * self._dice.choice([1, 20, 512, 513]),
            "notice": _NOTICE,
        }

    def _print(self) -> str:
        return f"{self._dice.getrandbits(256):064x}"

    def _uuid(self) -> str:
        return str(UUID(int=self._dice.getrandbits(128), version=4))

    def _key(self) -> str:
        return self._dice.choice([*topology.OUTCOME_KEYS, *topology.HINT_KEYS, "lab.x", "server.m"])

    def _events(self) -> str:
        return topology.events_exchange(self._orders["pool"])

    def _burst(self) -> int:
        return self._dice.randrange(1, BURST)

    def _connect(self) -> pika.BlockingConnection:
        parameters = pika.URLParameters(self._orders["url"])
        # One blocked by an alarm of its own making gives up.
        parameters.blocked_connection_timeout = 5
        return pika.BlockingConnection(parameters)

    def _open(self) -> BlockingChannel:
        if self._connection is None or not self._connection.is_open:
            self._connection = self._connect()
            self._channel = None
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.channel()
        return self._channel

    def _close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()


def main() -> None:
    """Read the orders, do, report."""
    orders = json.load(sys.stdin)
    attacker = Attacker(orders)
    attacker.run(float(orders["seconds"]))
    did = {
        "sent": attacker.sent,
        "tried": attacker.tried,
        "refused": attacker.refused,
        "named_newest": attacker.named_newest,
    }
    json.dump(did, sys.stdout)


if __name__ == "__main__":
    main()
