"""When a lab says how it stands: every ten seconds, and at once when it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from consumer.jobs.announcer import Announcer
from consumer.liveness.heartbeat import Heartbeat, LabStatus
from messages import codec
from messages.envelope import Message, Wire
from messages.lab import (
    ARCHIVE_AWAY,
    HEARTBEAT_SECONDS,
    SERVING,
    LabHeartbeat,
    LabModel,
    ModelDescriptor,
)


@dataclass
class Recording:
    hints: list[Message] = field(default_factory=list)

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        raise AssertionError("a heartbeat is a hint")

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        self.hints.append(codec.decode(wire.body, type_=wire.type))


def test_a_heartbeat_goes_out_at_once_when_anything_changes_and_else_not_before_its_time() -> None:
    sender = Recording()
    now = LabStatus(current=(), condition=SERVING, connections=1)
    beats = Heartbeat(
        Announcer(sender, user="lab1", pool="lab"),
        lab="lab1",
        pool="lab",
        device="cpu",
        models=(),
        status=lambda: now,
    )
    beats.beat()
    beats.beat()
    # It serves no model.
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


def test_each_model_is_told_at_the_start_and_after_each_connection_and_then_in_turn() -> None:
    sender = Recording()
    clock = [0.0]
    now = LabStatus(current=(), condition=SERVING, connections=2)
    models = [model(name) for name in ("a", "b", "c")]
    beats = heartbeat(sender, models, lambda: now, clock)
    beats.beat()
    assert told(sender) == ["a", "b", "c", "alive"]
    for turn in ("a", "b", "c", "a"):
        clock[0] += HEARTBEAT_SECONDS
        beats.beat()
        assert told(sender) == [turn, "alive"]
    now = replace(now, connections=3)
    beats.beat()
    assert told(sender) == ["a", "b", "c", "alive"]


def test_a_heartbeat_names_what_it_serves_and_holds_it_whole_while_that_is_short() -> None:
    sender = Recording()
    now = LabStatus(current=(), condition=SERVING, connections=1)
    models = [model("a"), model("b")]
    heartbeat(sender, models, lambda: now, [0.0]).beat()
    last = sender.hints[-1]
    assert isinstance(last, LabHeartbeat)
    assert last.models == tuple(models)
    assert last.fingerprints == tuple(one.fingerprint for one in models)


def test_a_lab_with_the_whole_zoo_and_a_segmentation_of_133_structures_each_can_say_so() -> None:
    sender = Recording()
    holds = tuple(uuid4() for _ in range(16))
    now = LabStatus(current=holds, condition=SERVING, connections=1)
    labels = tuple(f"structure {number} of the whole brain" for number in range(133))
    models = [model(f"zoo-{number}", labels=labels) for number in range(31)]
    # Each is encoded, and read again as the site reads it: see `Recording.hint`.
    heartbeat(sender, models, lambda: now, [0.0]).beat()
    *descriptors, last = sender.hints
    assert [one.model for one in descriptors if isinstance(one, LabModel)] == models
    assert isinstance(last, LabHeartbeat)
    # A site of before would take a part for all.
    assert last.models == ()
    assert last.fingerprints == tuple(one.fingerprint for one in models)
    assert last.current == holds


def model(name: str, **changes: Any) -> ModelDescriptor:
    values = {
        "name": name,
        "version": "1",
        "sha256": "0" * 64,
        "roles": ("image",),
        "labels": ("tumor",),
        "notice": "Not for clinical use.",
        **changes,
    }
    return ModelDescriptor(**values)


def heartbeat(
    sender: Recording,
    models: list[ModelDescriptor],
    status: Callable[[], LabStatus],
    clock: list[float],
) -> Heartbeat:
    return Heartbeat(
        Announcer(sender, user="lab1", pool="lab"),
        lab="lab1",
        pool="lab",
        device="cpu",
        models=models,
        status=status,
        clock=lambda: clock[0],
    )


def told(sender: Recording) -> list[str]:
    """What was sent since the last call."""
    sent, sender.hints = sender.hints, []
    return [one.model.name if isinstance(one, LabModel) else "alive" for one in sent]


def test_each_process_of_a_lab_names_itself_by_the_same_word_always() -> None:
    sender = Recording()
    now = LabStatus(current=(), condition=SERVING, connections=1)
    clock = [0.0]
    for one in [heartbeat(sender, [], lambda: now, clock) for _ in range(2)]:
        for _ in range(2):
            one.beat()
            clock[0] += HEARTBEAT_SECONDS
    names = [one.process for one in sender.hints if isinstance(one, LabHeartbeat)]
    assert None not in names
    assert names[0] == names[1] != names[2] == names[3]
