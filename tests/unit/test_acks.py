"""The ack table: only deliveries of the channel in use are settled, and each once."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.amqp.acks import AckTable, LegalAck


@dataclass
class RecordingChannel:
    settled: list[tuple[str, int]] = field(default_factory=list)

    def basic_ack(self, delivery_tag: int) -> None:
        self.settled.append(("ack", delivery_tag))

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        self.settled.append((f"reject requeue={requeue}", delivery_tag))


def test_a_delivery_is_acknowledged_once() -> None:
    table, channel = AckTable(), RecordingChannel()
    table.begin(channel)
    delivery = table.register(tag=7)
    assert table.settle(delivery, LegalAck.STORED)
    assert not table.settle(delivery, LegalAck.STORED)
    assert channel.settled == [("ack", 7)]


def test_a_delivery_of_an_earlier_channel_is_left_to_the_broker() -> None:
    table, old, new = AckTable(), RecordingChannel(), RecordingChannel()
    table.begin(old)
    delivery = table.register(tag=1)
    table.end()
    assert not table.settle(delivery, LegalAck.FAILED)
    table.begin(new)
    table.register(tag=1, count=1)
    # The same tag, but it is somebody else's now.
    assert not table.settle(delivery, LegalAck.FAILED)
    assert old.settled == new.settled == []


def test_what_cannot_be_read_is_rejected_without_requeue() -> None:
    table, channel = AckTable(), RecordingChannel()
    table.begin(channel)
    assert table.reject_undecodable(table.register(tag=3))
    assert channel.settled == [("reject requeue=False", 3)]


def test_what_has_not_begun_is_handed_back_with_requeue_and_settled_no_more() -> None:
    table, channel = AckTable(), RecordingChannel()
    table.begin(channel)
    delivery = table.register(tag=4)
    assert table.open_count == 1
    assert table.hand_back(delivery)
    assert not table.hand_back(delivery)
    assert not table.settle(delivery, LegalAck.STORED)
    assert channel.settled == [("reject requeue=True", 4)]
    assert table.open_count == 0
