"""``make cluster``: three brokers in one cluster on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

from infra.demo.stack import LAB, POOL
from infra.demo.up import Stopped
from infra.local import settings
from infra.local.cluster import NODES, NodePorts, RabbitCluster
from infra.local.passwords import stored_passwords
from infra.local.ports import PortTaken, require_free
from infra.local.process import ServiceFailed
from infra.local.settings import VAR, LocalSettings, SettingsError
from messages import topology

#: Seconds between two looks at the nodes.
_LOOK_SECONDS = 1.0

#: Seconds for which a node that has ended stays away: time to see that nothing misses it.
_AWAY_SECONDS = 20.0


def main(root: Path = VAR / "cluster") -> int:
    """Start, print the URLs, keep running; 1 with a sentence when that cannot be."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    cluster: RabbitCluster | None = None
    try:
        ports = _ports(settings.load())
        passwords = stored_passwords(root / "secrets.json", ["admin", "web", LAB])
        definitions = topology.with_users(passwords, {LAB: POOL})
        cluster = RabbitCluster(root, ports, definitions=definitions)
        _start(cluster, passwords)
        _keep(cluster)
    except Stopped:
        _say("stopping")
    except (PortTaken, SettingsError, ServiceFailed, OSError) as error:
        sys.stderr.write(f"make cluster: {error}\n")
        return 1
    finally:
        # A second Ctrl-C must not leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if cluster is not None:
            cluster.stop()
    _say("stopped; the data is kept")
    return 0


def _ports(local: LocalSettings) -> list[NodePorts]:
    """From AMQP_PORT and RABBIT_DIST_PORT upwards; raises `PortTaken` when one is in use."""
    require_free(local.epmd_port, "EPMD_PORT")
    ports = []
    for number in range(NODES):
        one = NodePorts(local.amqp_port + number, local.rabbit_dist_port + number, local.epmd_port)
        require_free(one.amqp, "AMQP_PORT")
        require_free(one.dist, "RABBIT_DIST_PORT")
        ports.append(one)
    return ports


def _start(cluster: RabbitCluster, passwords: dict[str, str]) -> None:
    began = time.monotonic()
    _say(f"starting {len(cluster.nodes)} RabbitMQ nodes")
    cluster.start()
    cluster.wait_ready()
    leaders = {queue: leader for queue, (leader, _) in cluster.members().items()}
    _say(f"started in {time.monotonic() - began:.0f} s; data, logs, passwords: {cluster.root}")
    for node in cluster.nodes:
        leads = sum(leader == node.nodename for leader in leaders.values())
        _say(f"{node.nodename}  pid {node.broker.pid}  leads {leads} of {len(leaders)} queues")
    for side, user in (("site", "web"), ("lab", LAB)):
        _say(f"for the {side}: RABBITMQ_URL={cluster.url(user, passwords[user])}")
    print(
        "The cluster is ready. make rabbitmqctl ARGS='--cluster cluster_status' asks it.",
        flush=True,
    )


def _keep(cluster: RabbitCluster) -> None:
    """Start again what has ended, after a while, so that any node may be killed."""
    waiting = threading.Event()
    ended: dict[str, float] = {}
    while not waiting.wait(_LOOK_SECONDS):
        for node in cluster.nodes:
            name, now = node.nodename, time.monotonic()
            if node.broker.alive:
                ended.pop(name, None)
            elif name not in ended:
                ended[name] = now
                _say(f"{name} has ended; starting it again in {_AWAY_SECONDS:.0f} s")
            elif now - ended[name] >= _AWAY_SECONDS:
                node.start()
                _say(f"{name} starts again with pid {node.broker.pid}")


def _stop(*_: object) -> None:
    raise Stopped


def _say(text: str) -> None:
    print(f"[labrelay] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
