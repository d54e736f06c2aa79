"""The broker: reached, entered, furnished, and willing to let this lab do its work."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import closing

from consumer.amqp.errors import BrokerError
from consumer.amqp.probe import NotConnected, Obstacle, Probe
from consumer.checks.line import Line, bad, ok, skipped
from consumer.settings import LabSettings
from messages import brokers, repair, topology
from messages.brokers import Seen

_NOUNS = (
    "broker", "credentials", "vhost", "queues", "identity", "permissions", "topic permissions",
)  # fmt: skip

_IMPORT = f"on the broker:\n{repair.IMPORT_COMMANDS}"

_ALARM = f"{repair.ALARMS}; free the broker's disk or memory"

#: Bound to nothing, and allowed to every lab: what is sent under it goes nowhere.
_NOWHERE = "lab.check"


def check(settings: LabSettings) -> Iterator[Line]:
    """Each broker of RABBITMQ_URL, as far as the one before lets it be looked at."""
    for url in settings.broker_urls:
        try:
            probe = Probe(url, name=f"{settings.lab_name} check")
        except NotConnected as error:
            yield from _not_connected(error, settings)
            continue
        with closing(probe):
            yield _version(probe)
            yield ok("credentials", f"user {settings.broker_user} is accepted")
            yield ok("vhost", f"{probe.vhost} is there")
            if brokers.why_unusable(probe.version):
                yield from (skipped(noun, "another broker") for noun in _NOUNS[3:])
                continue
            try:
                yield from _furnished(probe, settings)
            except BrokerError as error:
                yield bad("broker", str(error), "look at the log of the broker, then check again")


def _version(probe: Probe) -> Line:
    unusable = brokers.why_unusable(probe.version)
    if unusable:
        what, _, fix = unusable.partition("; ")
        return bad("broker", f"{probe.address} answers, but {what}", fix)
    return ok("broker", f"{probe.address} answers, RabbitMQ {probe.version}")


def _not_connected(error: NotConnected, settings: LabSettings) -> Iterator[Line]:
    user = settings.broker_user
    address = error.address
    match error.obstacle:
        case Obstacle.ADDRESS:
            yield bad(
                "broker",
                f"{address} does not answer ({error.detail})",
                "start RabbitMQ, correct host and port in RABBITMQ_URL, or open the firewall",
            )
        case Obstacle.TLS:
            yield bad(
                "broker",
                f"no TLS with {address} ({error.detail})",
                "amqps:// in RABBITMQ_URL needs the broker's TLS port and a certificate that this "
                "machine trusts; amqp:// belongs to the other port",
            )
        case Obstacle.CREDENTIALS:
            yield ok("broker", f"{address} answers")
            yield bad(
                "credentials",
                f"user {user} is refused with this password",
                f"correct RABBITMQ_URL, or on the broker: rabbitmqctl change_password {user}",
            )
        case Obstacle.VHOST:
            yield ok("broker", f"{address} answers")
            yield ok("credentials", f"user {user} is accepted")
            yield bad(
                "vhost",
                f"{error.detail} does not exist, or {user} may not enter it",
                f"end RABBITMQ_URL with /{topology.VHOST}, or {_IMPORT}\n" + _grant(settings),
            )
    failed = {Obstacle.CREDENTIALS: "credentials", Obstacle.VHOST: "vhost"}
    needs = failed.get(error.obstacle, "broker")
    yield from (skipped(later, needs) for later in _NOUNS[_NOUNS.index(needs) + 1 :])


def _furnished(probe: Probe, settings: LabSettings) -> Iterator[Line]:
    pool = settings.lab_pool
    # Of another lab's, or of nobody's, the permissions below say what is wrong.
    may_read = probe.may_read_cancels(settings.lab_name)
    controls = topology.control_queues(settings.lab_name, pool) if may_read else ()
    queues = (
        *topology.work_queues(pool),
        topology.replies_queue(pool),
        topology.progress_queue(pool),
        topology.DEAD_QUEUE,
        *(queue.name for queue in controls),
    )
    exchanges = tuple(exchange.name for exchange in topology.exchanges((pool,)))
    seen = {("queue", name): probe.queue(name) for name in queues}
    seen |= {("exchange", name): probe.exchange(name) for name in exchanges}
    if missing := brokers.named(seen, Seen.MISSING):
        yield bad("queues", f"missing: {', '.join(missing)}", _IMPORT)
        yield from (skipped(noun, "queues") for noun in _NOUNS[4:])
        return
    user = settings.broker_user
    rights = topology.lab_permissions(user, pool)
    if hidden := brokers.named(brokers.due(seen, rights), Seen.HIDDEN):
        # What follows can be asked all the same, and says which right it is.
        yield bad(
            "queues",
            f"missing, or without a right for {user}: {', '.join(hidden)}",
            "LAB_POOL and LAB_NAME must be as the permissions have them, or "
            f"{_IMPORT}\n{_grant(settings)}",
        )
    else:
        yield ok("queues", brokers.counted(seen, user))
    if not probe.takes_messages(topology.events_exchange(pool), _NOWHERE):
        yield bad("publishing", "the broker takes no messages now", _ALARM)
        yield from (skipped(noun, "publishing") for noun in _NOUNS[4:])
        return
    if probe.may_impersonate(topology.events_exchange(pool), _NOWHERE):
        yield bad(
            "identity",
            f"{user} may speak as any other user (tag impersonator)",
            f"on the broker:\nrabbitmqctl set_user_tags {user}",
        )
        yield from (skipped(noun, "identity") for noun in _NOUNS[5:])
        return
    yield ok("identity", f"the broker lets {user} speak as {user} only")
    yield from _permissions(probe, settings)


def _permissions(probe: Probe, settings: LabSettings) -> Iterator[Line]:
    pool = settings.lab_pool
    work = topology.requests_queue(pool)
    denied = [
        f"read {queue}" for queue in (work, topology.rules_queue(pool)) if not probe.may_read(queue)
    ]
    if not probe.may_read_cancels(settings.lab_name):
        denied.append(f"read {topology.control_queue(settings.lab_name, 1)} and on")
    unwritten = [
        (exchange, key) for exchange, key in _writes(pool) if not probe.may_write(exchange, key)
    ]
    denied += [f"write {exchange} under {key}" for exchange, key in unwritten]
    if denied:
        commands = [_grant(settings), *_grant_topics(settings, {e for e, _ in unwritten})]
        yield bad(
            "permissions",
            f"{settings.broker_user} may not {', '.join(denied)}",
            "LAB_POOL and LAB_NAME must be as the permissions have them, or on the broker:\n"
            + "\n".join(commands),
        )
    else:
        yield ok("permissions", f"{settings.broker_user} may take {work}, answer and try again")
    yield _confined(probe, settings)


def _tiers(pool: str) -> tuple[str, ...]:
    return tuple(topology.retry_exchange(pool, tier) for tier in topology.RETRY_TIERS)


def _writes(pool: str) -> list[tuple[str, str]]:
    outcome, heartbeat = topology.OUTCOME_KEYS[0], topology.HINT_KEYS[1]
    events, own = topology.events_exchange(pool), f"{pool}.check"
    return [
        (events, outcome),
        (events, heartbeat),
        *((tier, key) for tier in _tiers(pool) for key in (own, f"{topology.RULES}.{own}")),
    ]


def _confined(probe: Probe, settings: LabSettings) -> Line:
    """Without topic permissions a user may write any key, of other pools too."""
    pool, events = settings.lab_pool, topology.events_exchange(settings.lab_pool)
    others = [other for other in topology.POOLS if other != pool]
    too_far = {
        tier: f"{tier} under {other}.check"
        for other in others
        for own in _tiers(pool)
        for tier in (own, *_tiers(other))
        if probe.may_write(tier, f"{other}.check")
    }
    if probe.may_write(events, "check.check"):
        too_far[events] = f"{events} under any key"
    if too_far:
        return bad(
            "topic permissions",
            f"{settings.broker_user} may write what is not its own: {', '.join(too_far.values())}",
            "on the broker:\n" + "\n".join(_grant_topics(settings, too_far)),
        )
    return ok("topic permissions", f"{settings.broker_user} is confined to {settings.lab_pool}")


def _grant(settings: LabSettings) -> str:
    rights = topology.lab_permissions(settings.broker_user, settings.lab_pool)
    return (
        f"rabbitmqctl set_permissions -p {topology.VHOST} {settings.broker_user} "
        f"'{rights['configure']}' '{rights['write']}' '{rights['read']}'"
    )


def _grant_topics(settings: LabSettings, exchanges: Container[str]) -> list[str]:
    user = settings.broker_user
    return [
        f"rabbitmqctl set_topic_permissions -p {topology.VHOST} {user} {right['exchange']} "
        f"'{right['write']}' '{right['read']}'"
        for right in topology.lab_topic_permissions(user, settings.lab_pool)
        if right["exchange"] in exchanges
    ]
