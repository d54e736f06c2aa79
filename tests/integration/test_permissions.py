"""What a lab's user can reach on the real broker: its own pool, whatever it tries.

From the position of a lab that was taken over. The broker compares names and not kinds of things,
so every deed is tried with each name that matches one of the lab's patterns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import product
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from infra.local.process import wait_until
from messages import topology
from tests.integration.nodes import LABS, TestBroker, running_rabbit

#: The lab that was taken over, its pool, and the other pool.
LAB, POOL, OTHER = "lab1", "lab", "server"

#: AMQP 0-9-1 reply codes.
REFUSED, NOT_FOUND, FLAWED = 403, 404, 406

Deed = Callable[[BlockingChannel], object]

OWN_TIERS = [topology.retry_exchange(POOL, tier) for tier in topology.RETRY_TIERS]
OWN_WORK = [topology.requests_queue(POOL), topology.rules_queue(POOL)]

#: Every name that matches a pattern of the lab, of things that are there and of some that are not.
MATCHING = [
    topology.events_exchange(POOL),
    *OWN_TIERS,
    *OWN_WORK,
    topology.control_queue(LAB, 1),
    topology.control_queue(LAB, topology.CONTROL_QUEUES + 1),
    topology.control_queue(LAB, 99999),
    # What `^$` matches: a queue that the broker names, and the default exchange.
    "",
]

#: Where a thing of the lab's could lead to, or hear from.
BEYOND = [
    topology.REQUESTS,
    topology.DEAD,
    topology.events_exchange(OTHER),
    topology.control_exchange(POOL),
    topology.control_exchange(OTHER),
    topology.retry_exchange(OTHER, "30s"),
    "amq.topic",
    "amq.fanout",
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBroker]:
    """A broker of its own, whose tiers wait a second."""
    with running_rabbit(tmp_path_factory.mktemp("permissions"), retry_seconds=1) as broker:
        yield broker


@contextmanager
def channel_of(broker: TestBroker, user: str = LAB) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url(user)))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


@pytest.fixture
def channel(broker: TestBroker) -> Iterator[BlockingChannel]:
    with channel_of(broker) as channel:
        channel.confirm_delivery()
        yield channel


def furniture(broker: TestBroker) -> list[str]:
    """Every queue, exchange and binding, with what they were made with."""
    kinds = {
        "list_queues": ("name", "durable", "auto_delete", "arguments"),
        "list_exchanges": ("name", "type", "arguments"),
        "list_bindings": ("source_name", "destination_name", "destination_kind", "routing_key"),
    }
    return sorted(
        line
        for command, columns in kinds.items()
        for line in broker.node.ctl("-q", "-p", topology.VHOST, command, *columns).splitlines()
    )


def leading(key: str) -> dict[str, Any]:
    """Arguments of a queue whose messages leave for another pool."""
    return {
        "x-dead-letter-exchange": topology.REQUESTS,
        "x-dead-letter-routing-key": key,
        "x-message-ttl": 0,
    }


def declaring(name: str) -> dict[str, Deed]:
    """Ways to make, change or end something of this name."""
    astray = {"alternate-exchange": topology.REQUESTS}
    return {
        "a durable queue": lambda c: c.queue_declare(name, durable=True),
        "a passing queue": lambda c: c.queue_declare(name, auto_delete=True),
        "an exclusive queue": lambda c: c.queue_declare(name, exclusive=True),
        "a quorum queue": lambda c: c.queue_declare(
            name, durable=True, arguments={"x-queue-type": "quorum"}
        ),
        "a stream": lambda c: c.queue_declare(
            name, durable=True, arguments={"x-queue-type": "stream"}
        ),
        "a queue that leads away": lambda c: c.queue_declare(
            name, durable=True, arguments=leading(f"{OTHER}.m")
        ),
        "an exclusive queue that leads away": lambda c: c.queue_declare(
            name, exclusive=True, arguments=leading(f"{OTHER}.m")
        ),
        **{
            f"an exchange of kind {kind}": lambda c, kind=kind: c.exchange_declare(
                name, kind, durable=True
            )
            for kind in ("topic", "fanout", "direct", "headers")
        },
        "an exchange that leads away": lambda c: c.exchange_declare(
            name, "topic", durable=True, arguments=astray
        ),
        "an inner exchange": lambda c: c.exchange_declare(name, "topic", internal=True),
        "delete the queue": lambda c: c.queue_delete(name),
        "delete the queue if unused": lambda c: c.queue_delete(name, if_unused=True, if_empty=True),
        "delete the exchange": lambda c: c.exchange_delete(name),
    }


def binding(name: str, other: str, key: str) -> dict[str, Deed]:
    """Ways to join two things, or to part them."""
    return {
        "bind queue": lambda c: c.queue_bind(name, other, key),
        "bind queue the other way": lambda c: c.queue_bind(other, name, key),
        "unbind queue": lambda c: c.queue_unbind(name, other, key),
        "unbind queue the other way": lambda c: c.queue_unbind(other, name, key),
        "bind exchange": lambda c: c.exchange_bind(name, other, key),
        "bind exchange the other way": lambda c: c.exchange_bind(other, name, key),
        "unbind exchange": lambda c: c.exchange_unbind(name, other, key),
        "unbind exchange the other way": lambda c: c.exchange_unbind(other, name, key),
    }


def allowed(
    broker: TestBroker, deeds: dict[str, Deed], *, refusals: tuple[int, ...] = (REFUSED, NOT_FOUND)
) -> list[str]:
    """Those of the deeds that the broker did not refuse.

    Not found: only the name "" of a queue, which stands for the last one declared.
    """
    done = []
    with channel_of(broker) as first:
        connection = first.connection
        for name, deed in deeds.items():
            channel = connection.channel()
            try:
                deed(channel)
            except ChannelClosedByBroker as exc:
                if exc.reply_code not in refusals:
                    done.append(f"{name}: {exc.reply_code} {exc.reply_text}")
            else:
                done.append(name)
                channel.close()
    return done


def test_the_names_that_are_tried_match_and_the_patterns_match_no_other_name() -> None:
    own = topology.lab_permissions(LAB, POOL)
    patterns = [own[right] for right in ("configure", "write", "read")]
    for name in MATCHING:
        assert any(re.search(pattern, name) for pattern in patterns), name
    everything = topology.queues(labs=LABS)
    names = {*(thing.name for thing in (*topology.exchanges(), *everything)), *BEYOND}
    reached = {name for name in names if any(re.search(pattern, name) for pattern in patterns)}
    own_controls = {queue.name for queue in topology.control_queues(LAB, POOL)}
    assert reached == {topology.events_exchange(POOL), *OWN_TIERS, *OWN_WORK, *own_controls}


def test_a_lab_can_make_change_and_end_nothing_whatever_it_is_called(broker: TestBroker) -> None:
    before = furniture(broker)
    deeds = {
        f"{deed} as {name!r}": do
        for name in (*MATCHING, "mine", "amq.mine", topology.requests_queue(OTHER))
        for deed, do in declaring(name).items()
    }
    assert len(deeds) > 150
    # The broker names no queue of these kinds, whoever asks. Of any other deed such an answer would
    # say that the lab may configure, and has only named other arguments than the thing has.
    nameless = {deed: deeds.pop(deed) for deed in ("a quorum queue as ''", "a stream as ''")}
    assert allowed(broker, nameless, refusals=(FLAWED,)) == []
    assert allowed(broker, deeds) == []
    assert furniture(broker) == before


def test_a_lab_can_join_and_part_nothing(broker: TestBroker) -> None:
    before = furniture(broker)
    deeds = {
        f"{deed} {name!r} and {other!r} under {key!r}": do
        for name, other in product(MATCHING, [*BEYOND, *MATCHING])
        for key in ("#", f"{OTHER}.#")
        for deed, do in binding(name, other, key).items()
        # The broker binds every queue to the default exchange, and nobody else does.
        if name and other
    }
    assert len(deeds) > 1000
    done = allowed(broker, deeds)
    # To part what was never joined is no error where both names match. It changes nothing.
    assert [deed for deed in done if not deed.startswith("unbind ")] == []
    assert furniture(broker) == before


def test_a_lab_can_read_and_empty_nothing_but_its_pool_s_work_and_its_cancels(
    broker: TestBroker,
) -> None:
    own = {*OWN_WORK, *(queue.name for queue in topology.control_queues(LAB, POOL))}
    others = sorted({queue.name for queue in topology.queues(labs=LABS)} - own)
    assert topology.control_queue("lab2", 1) in others
    deeds: dict[str, Deed] = {}
    for name in others:
        deeds |= {
            f"get {name}": lambda c, name=name: c.basic_get(name),
            f"consume {name}": lambda c, name=name: c.basic_consume(name, lambda *_: None),
            f"consume {name} alone": lambda c, name=name: c.basic_consume(
                name, lambda *_: None, exclusive=True
            ),
            f"purge {name}": lambda c, name=name: c.queue_purge(name),
        }
    assert allowed(broker, deeds) == []
    mine = {f"get {name}": lambda c, name=name: c.basic_get(name) for name in sorted(own)}
    assert allowed(broker, mine) == list(mine)


def publish(exchange: str, key: str, **properties: Any) -> Deed:
    def deed(channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, b"{}", pika.BasicProperties(**properties))

    return deed


def in_a_transaction(exchange: str, key: str) -> Deed:
    def deed(channel: BlockingChannel) -> None:
        channel.tx_select()
        channel.basic_publish(exchange, key, b"{}")
        channel.tx_commit()

    return deed


def test_a_lab_can_write_nowhere_but_into_its_pool_s_events_and_tiers(broker: TestBroker) -> None:
    before = waiting(broker)
    keys = (f"{POOL}.m", f"{OTHER}.m", f"{topology.RULES}.{OTHER}.m", "request.accepted", "")
    elsewhere = [*BEYOND, "", "amq.direct", "amq.headers", "amq.match", *OWN_WORK]
    deeds = {
        f"{how.__name__} {exchange!r} under {key!r}": how(exchange, key)
        for how, exchange, key in product(
            (publish, in_a_transaction), elsewhere, (*keys, topology.requests_queue(OTHER))
        )
    }
    # Its own exchanges, under what is another pool's, or nobody's.
    foreign = [
        *(f"{pool}.m" for pool in (OTHER, "labx", "xlab", "LAB")),
        *(f"{topology.RULES}.{pool}.m" for pool in (OTHER, "labx")),
        *("lab", "rules.lab", "rules.rules.lab.m", " lab.m", f"x\n{POOL}.m", ""),
    ]
    deeds |= {
        f"{how.__name__} {exchange!r} under {key!r}": how(exchange, key)
        for how, exchange, key in product((publish, in_a_transaction), OWN_TIERS, foreign)
    }
    events = topology.events_exchange(POOL)
    deeds |= {
        f"publish {events!r} under {key!r}": publish(events, key)
        for key in ("check", f"{OTHER}.m", "requests.x", "x.lab.heartbeat", "")
    }
    assert allowed(broker, deeds) == []
    assert waiting(broker) == before


def test_a_lab_can_speak_as_nobody_else(channel: BlockingChannel) -> None:
    with pytest.raises(ChannelClosedByBroker) as refusal:
        publish(topology.events_exchange(POOL), "request.accepted", user_id="web")(channel)
    assert refusal.value.reply_code == FLAWED


#: Headers and properties by which a sender chooses further keys, or when a message leaves a queue.
WAYS: dict[str, dict[str, Any]] = {
    "CC": {"headers": {"CC": [f"{OTHER}.m", f"{topology.RULES}.{OTHER}.m"]}},
    "BCC": {"headers": {"BCC": [f"{OTHER}.m", f"{topology.RULES}.{OTHER}.m"]}},
    "both, at once": {
        "headers": {"CC": [f"{OTHER}.m"], "BCC": [f"{topology.RULES}.{OTHER}.m"]},
        "expiration": "0",
    },
    "a death of its own": {
        "headers": {
            "x-death": [
                {"queue": topology.requests_queue(OTHER), "exchange": "", "reason": "expired"}
            ],
            "x-first-death-queue": topology.requests_queue(OTHER),
            "x-dead-letter-routing-key": f"{OTHER}.m",
            "x-delivery-count": 19,
        }
    },
}


#: Those that choose keys. RabbitMQ 4 holds each such key against the topic permission and refuses
#: (4.0.5 and 4.3.6 do, 3.10.8 does not): there nothing comes in at all.
CHOOSING = {way for way, sent in WAYS.items() if {"CC", "BCC"} & set(sent["headers"])}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_lab_puts_into_a_tier_comes_back_to_its_own_pool_alone(
    broker: TestBroker, way: str
) -> None:
    empty(broker)
    deeds = {
        f"publish {tier!r} under {key!r}": publish(tier, key, delivery_mode=2, **WAYS[way])
        for tier, key in product(OWN_TIERS, (f"{POOL}.m", f"{topology.RULES}.{POOL}.m"))
    }
    taken = allowed(broker, deeds)
    assert taken == list(deeds) or (taken == [] and way in CHOOSING)
    back = {name: len(OWN_TIERS) for name in OWN_WORK} if taken else {}
    wait_until(lambda: waiting(broker) == back, "bring them back, and nothing else", 60)


def test_what_a_lab_tells_under_further_keys_stays_in_its_pool(broker: TestBroker) -> None:
    empty(broker)
    events = topology.events_exchange(POOL)
    own = {}
    for key, queue in (
        ("request.accepted", topology.replies_queue(POOL)),
        ("lab.heartbeat", topology.progress_queue(POOL)),
    ):
        # Without a time to live: it would be a dead letter, and those are everybody's.
        deeds = {
            way: publish(events, key, delivery_mode=2, headers=sent["headers"])
            for way, sent in WAYS.items()
        }
        taken = allowed(broker, deeds)
        assert set(taken) in (set(WAYS), set(WAYS) - CHOOSING)
        own[queue] = len(taken)
    wait_until(lambda: waiting(broker) == own, "keep them", 30)
    empty(broker)


def test_a_lab_may_do_what_its_work_needs(broker: TestBroker, channel: BlockingChannel) -> None:
    for queue in OWN_WORK:
        channel.queue_declare(queue, passive=True)
    publish(topology.events_exchange(POOL), "lab.heartbeat", user_id=LAB)(channel)
    publish(topology.events_exchange(POOL), "lab.model", user_id=LAB)(channel)
    publish(topology.events_exchange(POOL), "request.completed", user_id=LAB)(channel)
    for tier, key in product(OWN_TIERS, (f"{POOL}.m", f"{topology.RULES}.{POOL}.m")):
        publish(tier, key, user_id=LAB)(channel)
    channel.basic_consume(topology.control_queue(LAB, 1), lambda *_: None, exclusive=True)
    empty(broker)


def test_a_lab_has_no_more_connections_and_channels_than_its_processes_need(
    broker: TestBroker,
) -> None:
    most = topology.USER_LIMITS
    with ExitStack() as opened:

        def connect() -> pika.BlockingConnection:
            return pika.BlockingConnection(pika.URLParameters(broker.url("server1")))

        for _ in range(most["max-connections"]):
            opened.enter_context(closing(connect()))

        def refused() -> bool:
            # Counted a moment after a connection is there.
            try:
                connect().close()
            except AMQPError:
                return True
            return False

        wait_until(refused, "refuse one more", 30)
    with ExitStack() as opened:
        wait_until(lambda: not refused(), "let it in again", 30)
        per_connection = most["max-channels"] // 4
        connections = [opened.enter_context(closing(connect())) for _ in range(4)]
        for connection in connections:
            for _ in range(per_connection):
                connection.channel()

        def no_channel() -> bool:
            try:
                with closing(connect()) as more:
                    more.channel()
            except AMQPError:
                return True
            return False

        wait_until(no_channel, "refuse one more channel", 30)


def test_there_is_no_guest(broker: TestBroker) -> None:
    url = broker.node.url("guest", "guest")
    with pytest.raises(AMQPError):
        pika.BlockingConnection(pika.URLParameters(url))


def waiting(broker: TestBroker) -> dict[str, int]:
    """Ready messages by queue, of the queues that have some; asked of them, so true at once."""
    with channel_of(broker, "admin") as channel:
        counts = {
            queue.name: channel.queue_declare(queue.name, passive=True).method.message_count
            for queue in topology.queues(labs=LABS)
        }
    return {name: count for name, count in counts.items() if count}


def empty(broker: TestBroker) -> None:
    with channel_of(broker, "admin") as channel:
        for queue in topology.queues(labs=LABS):
            channel.queue_purge(queue.name)
