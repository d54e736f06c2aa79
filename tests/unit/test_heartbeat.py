"""When a lab says how it stands: every ten seconds, and at once when it changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import uuid4

from consumer.announce import Announcer
from consumer.heartbeat import Heartbeat, Standing
from messages import codec
from messages.envelope import Message, Wire
from messages.lab import ARCHIVE_AWAY, SERVING, LabHeartbeat


@dataclass
class Recording:
    hints: list[Message] = field(default_factory=list)

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        raise AssertionError("a heartbeat is a hint")

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        self.hints.append(codec.decode(wire.body, type_=wire.type))


def test_a_heartbeat_goes_out_at_once_when_anything_changes_and_else_not_before_its_time() -> None:
    sender = Recording()
    now = Standing(current=(), condition=SERVING, connections=1)
    beats = Heartbeat(
        Announcer(sender, user="lab1"),
        lab="lab1",
        pool="lab",
        device="cpu",
        models=(),
        standing=lambda: now,
    )
    beats.beat()
    beats.beat()
    assert len(sender.hints) == 1
    request = uuid4()
    for change in (
        {"current": (request,)},
        {"condition": ARCHIVE_AWAY},
        # After a reconnect the last one may have been lost.
        {"connections": 2},
    ):
        now = replace(now, **change)
        beats.beat()
        beats.beat()
    assert len(sender.hints) == 4
    last = sender.hints[-1]
    assert isinstance(last, LabHeartbeat)
    assert (last.current, last.condition) == ((request,), ARCHIVE_AWAY)
