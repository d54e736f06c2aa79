"""The broker: reached, entered, furnished, and willing to let the site do its work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from messages import brokers, repair, topology
from messages.brokers import Seen
from web.broker.errors import BrokerProblem
from web.broker.probe import NotConnected, Obstacle, Probe, address_of, user_of, vhost_of
from web.checks.line import Line, bad, ok, skipped
from web.reconciler.lost import queues_of

_IMPORT = f"on the broker:\n{repair.IMPORT_COMMANDS}"

_ALARM = f"{repair.ALARMS}; free the broker's disk or memory"

_NOUNS = ("broker", "credentials", "vhost", "queues", "depth", "identity", "permissions")

#: Bound to nothing: what is sent under it goes nowhere.
_NOWHERE = "check.check"


def _writes(pools: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the site publishes, with a key of each pool; a fanout has none."""
    for pool in pools:
        yield topology.REQUESTS, f"{pool}.check"
        yield topology.control_exchange(pool), ""


def _reads(pools: Sequence[str]) -> tuple[str, ...]:
    """What the site consumes."""
    of_pools = (
        queue(p) for queue in (topology.replies_queue, topology.progress_queue) for p in pools
    )
    return (*of_pools, topology.DEAD_QUEUE)


async def check(urls: Iterable[str], pools: Sequence[str] = topology.POOLS) -> list[Line]:
    """Each broker of RABBITMQ_URL, as far as the one before lets it be looked at.

    `pools`: those that ship, and those of labs that staff have added.
    """
    lines: list[Line] = []
    for url in urls:
        probe = Probe(url)
        try:
            await probe.connect()
            lines += [
                _version(probe, url),
                ok("credentials", f"user {user_of(url)} is accepted"),
                ok("vhost", f"{vhost_of(url)} is there"),
            ]
            if brokers.why_unusable(probe.version):
                lines += [skipped(noun, "another broker") for noun in _NOUNS[3:]]
            else:
                lines += await _furnished(probe, user_of(url), pools)
        except NotConnected as error:
            lines += _not_connected(error, url)
        except BrokerProblem as error:
            lines.append(
                bad("broker", f"it broke off ({error})", "look at its log, then check again")
            )
        finally:
            await probe.close()
    return lines


def _version(probe: Probe, url: str) -> Line:
    unusable = brokers.why_unusable(probe.version)
    if unusable:
        what, _, fix = unusable.partition("; ")
        return bad("broker", f"{address_of(url)} answers, but {what}", fix)
    return ok("broker", f"{address_of(url)} answers, RabbitMQ {probe.version}")


def _not_connected(error: NotConnected, url: str) -> Iterator[Line]:
    user, address = user_of(url), address_of(url)
    needs = "broker"
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
            needs = "credentials"
            yield ok("broker", f"{address} answers")
            yield bad(
                needs,
                f"user {user} is refused with this password",
                f"correct RABBITMQ_URL, or on the broker: rabbitmqctl change_password {user}",
            )
        case Obstacle.VHOST:
            needs = "vhost"
            yield ok("broker", f"{address} answers")
            yield ok("credentials", f"user {user} is accepted")
            yield bad(
                needs,
                f"{vhost_of(url)} does not exist, or {user} may not enter it",
                f"end RABBITMQ_URL with /{topology.VHOST}, or {_IMPORT}\n" + _grant(user),
            )
        case _:
            assert_never(error.obstacle)
    yield from (skipped(later, needs) for later in _NOUNS[_NOUNS.index(needs) + 1 :])


async def _furnished(probe: Probe, user: str, pools: Sequence[str]) -> list[Line]:
    queues = [queue.name for queue in topology.queues(pools)]
    exchanges = [exchange.name for exchange in topology.exchanges(pools)]
    seen = {("queue", name): await probe.queue(name) for name in queues}
    seen |= {("exchange", name): await probe.exchange(name) for name in exchanges}
    if missing := brokers.named(seen, Seen.MISSING):
        fault = bad("queues", f"missing: {', '.join(missing)}", _IMPORT)
        return [fault, *(skipped(noun, "queues") for noun in _NOUNS[4:])]
    # What follows can be asked whatever is hidden, and says which right it is.
    there = [_shown(seen, user), _depth(seen, user, pools)]
    if not await probe.takes_messages(topology.REQUESTS, _NOWHERE):
        alarm = bad("publishing", "the broker takes no messages now", _ALARM)
        return [*there, alarm, *(skipped(noun, "publishing") for noun in _NOUNS[5:])]
    if await probe.poses(topology.REQUESTS, _NOWHERE):
        posing = bad(
            "identity",
            f"{user} may speak as any other user (tag impersonator)",
            f"on the broker:\nrabbitmqctl set_user_tags {user}",
        )
        return [*there, posing, skipped("permissions", "identity")]
    there.append(ok("identity", f"the broker lets {user} speak as {user} only"))
    denied = [
        f"write {name}" for name, key in _writes(pools) if not await probe.may_write(name, key)
    ]
    denied += [f"read {name}" for name in _reads(pools) if not await probe.may_read(name)]
    if denied:
        unique = ", ".join(dict.fromkeys(denied))
        return [*there, bad("permissions", f"{user} may not {unique}", _grant(user))]
    return [*there, ok("permissions", f"{user} may ask the labs and read their answers")]


def _shown(seen: brokers.Furniture, user: str) -> Line:
    due = brokers.due(seen, topology.site_permissions())
    if hidden := brokers.named(due, Seen.HIDDEN):
        return bad(
            "queues",
            f"missing, or without a right for {user}: {', '.join(hidden)}",
            f"{_IMPORT}\n{_grant(user)}",
        )
    return ok("queues", brokers.counted(seen, user))


def _depth(seen: brokers.Furniture, user: str, pools: Sequence[str]) -> Line:
    """By the depth of its pool's queues a lost request is told soon from one that waits."""
    waiting = {("queue", name) for pool in pools for name in queues_of(pool)}
    asked = {key: what for key, what in seen.items() if key in waiting}
    if hidden := brokers.named(asked, Seen.HIDDEN):
        return bad(
            "depth",
            f"{user} cannot see what waits in {', '.join(hidden)}: "
            "lost requests are sent again late",
            f"on the broker:\n{_grant(user)}",
        )
    return ok("depth", f"{user} can see what waits in {len(asked)} queues")


def _grant(user: str) -> str:
    rights = topology.site_permissions()
    return (
        f"rabbitmqctl set_permissions -p {topology.VHOST} {user} "
        f"'{rights['configure']}' '{rights['write']}' '{rights['read']}'"
    )
