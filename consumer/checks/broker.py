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
    queues = (
        topology.requests_queue(pool),
        *(topology.retry_queue(tier, pool) for tier in topology.RETRY_TIERS),
        topology.REPLIES_QUEUE,
        topology.PROGRESS_QUEUE,
        topology.DEAD_QUEUE,
    )
    exchanges = tuple(exchange.name for exchange in topology.EXCHANGES)
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
    if not probe.takes_messages(topology.EVENTS, _NOWHERE):
        yield bad("publishing", "the broker takes no messages now", _ALARM)
        yield from (skipped(noun, "publishing") for noun in _NOUNS[4:])
        return
    if probe.poses(topology.EVENTS, _NOWHERE):
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
    work = topology.requests_queue(settings.lab_pool)
    tiers = tuple(topology.retry_exchange(tier) for tier in topology.RETRY_TIERS)
    own = f"{settings.lab_pool}.check"
    denied = []
    if not probe.may_read(work):
        denied.append(f"read {work}")
    if not probe.may_hear_cancels(settings.lab_name):
        denied.append(f"make {topology.CONTROL}.{settings.lab_name}.* and bind it")
    unwritten = [
        (exchange, key)
        for exchange, key in _writes(tiers, own)
        if not probe.may_write(exchange, key)
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
    yield _confined(probe, settings, tiers)


def _writes(tiers: tuple[str, ...], own: str) -> list[tuple[str, str]]:
    outcome, heartbeat = topology.OUTCOME_KEYS[0], topology.HINT_KEYS[1]
    return [
        (topology.EVENTS, outcome),
        (topology.EVENTS, heartbeat),
        *((tier, own) for tier in tiers),
    ]


def _confined(probe: Probe, settings: LabSettings, tiers: tuple[str, ...]) -> Line:
    """A user without topic permissions may write any key: then a tier leads into every pool."""
    others = [pool for pool in topology.POOLS if pool != settings.lab_pool]
    too_far = {
        tier: f"{tier} under {pool}.check"
        for tier in tiers
        for pool in others
        if probe.may_write(tier, f"{pool}.check")
    }
    if probe.may_write(topology.EVENTS, "check.check"):
        too_far[topology.EVENTS] = f"{topology.EVENTS} under any key"
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
