"""The broker: reached, entered, furnished, and willing to let the site do its work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import assert_never

from messages import repair, topology
from web.broker.errors import BrokerProblem
from web.broker.probe import NotConnected, Obstacle, Probe, address_of, user_of, vhost_of
from web.checks.line import Line, bad, ok, skipped

_ALARM = f"{repair.ALARMS}; free the broker's disk or memory"

_IMPORT = f"on the broker:\n{repair.IMPORT_COMMANDS}"

_NOUNS = ("broker", "credentials", "vhost", "queues", "permissions")

#: What the site publishes, with a key of each pool; the fanout has none.
_WRITES = (
    *((topology.REQUESTS, f"{pool}.check") for pool in topology.POOLS),
    *((topology.control_exchange(pool), "") for pool in topology.POOLS),
)

#: What the site consumes.
_READS = (
    *map(topology.replies_queue, topology.POOLS),
    *map(topology.progress_queue, topology.POOLS),
    topology.DEAD_QUEUE,
)


async def check(urls: Iterable[str]) -> list[Line]:
    """Each broker of RABBITMQ_URL, as far as the one before lets it be looked at."""
    lines: list[Line] = []
    for url in urls:
        probe = Probe(url)
        try:
            await probe.connect()
            lines += [
                ok("broker", f"{address_of(url)} answers"),
                ok("credentials", f"user {user_of(url)} is accepted"),
                ok("vhost", f"{vhost_of(url)} is there"),
            ]
            lines += await _furnished(probe, user_of(url))
        except NotConnected as error:
            lines += _not_connected(error, url)
        except BrokerProblem as error:
            lines.append(
                bad("broker", f"it broke off ({error})", "look at its log, then check again")
            )
        finally:
            await probe.close()
    return lines


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


async def _furnished(probe: Probe, user: str) -> list[Line]:
    queues = [queue.name for queue in topology.queues()]
    exchanges = [exchange.name for exchange in topology.exchanges()]
    missing = [f"queue {name}" for name in queues if not await probe.has_queue(name)]
    missing += [f"exchange {name}" for name in exchanges if not await probe.has_exchange(name)]
    if missing:
        fault = bad("queues", f"missing: {', '.join(missing)}", _IMPORT)
        return [fault, skipped("permissions", "queues")]
    there = ok("queues", f"{len(queues)} queues and {len(exchanges)} exchanges are there")
    if not await probe.takes_messages(topology.REQUESTS, "check.check"):
        alarm = bad("publishing", "the broker takes no messages now", _ALARM)
        return [there, alarm, skipped("permissions", "publishing")]
    denied = [f"write {name}" for name, key in _WRITES if not await probe.may_write(name, key)]
    denied += [f"read {name}" for name in _READS if not await probe.may_read(name)]
    if denied:
        unique = ", ".join(dict.fromkeys(denied))
        return [there, bad("permissions", f"{user} may not {unique}", _grant(user))]
    return [there, ok("permissions", f"{user} may ask the labs and read their answers")]


def _grant(user: str) -> str:
    users = topology.with_users({"admin": "", "web": ""}, {})["permissions"]
    rights = next(right for right in users if right["user"] == "web")
    return (
        f"rabbitmqctl set_permissions -p {topology.VHOST} {user} "
        f"'{rights['configure']}' '{rights['write']}' '{rights['read']}'"
    )
