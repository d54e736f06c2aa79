"""A private RabbitMQ node on loopback, with a port mapper, cookie and data of its own."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local.debian_root import inside
from infra.local.private_files import private_directory, write_private
from infra.local.process import Service, ServiceFailed
from infra.local.settings import REPOSITORY, child_environment

#: Not the wrapper in /usr/sbin, which switches to the user `rabbitmq`.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"

#: What operators get too; the node appends its own listener and definitions.
BASE_CONF = REPOSITORY / "infra" / "rabbitmq" / "rabbitmq.conf"

#: Seconds until a node must be up: about 6 alone, more while other programs hold the processors.
START_SECONDS = 60.0

#: Seconds for a clean stop, which flushes the queues' logs.
STOP_SECONDS = 30.0

#: Seconds for one rabbitmqctl command: normally one.
CTL_SECONDS = 60.0

#: Erlang distribution on loopback only, for the node and for rabbitmqctl.
LOOPBACK_ONLY = "-kernel inet_dist_use_interface {127,0,0,1}"


class NodeNotRunning(Exception):
    """No private broker runs under this directory."""


class RabbitNode:
    """One broker under `root`; the same `root` gives the same node, queues and messages again.

    `definitions` is what the broker imports at each start: topology with users and hashed
    passwords. Policies and users that an operator changed by hand are set back by that. Empty:
    nothing is imported, and `settings` must keep the broker from making its default user, guest.
    `settings` are further lines of rabbitmq.conf.
    `advanced` is Erlang text for advanced.config, for settings that rabbitmq.conf does not know.
    `port_mapper` is one that other nodes use too and that their owner stops; otherwise the node
    has its own.
    """

    def __init__(
        self,
        root: Path,
        *,
        amqp_port: int,
        dist_port: int,
        epmd_port: int,
        definitions: Mapping[str, Any],
        settings: Sequence[str] = (),
        advanced: str = "[].",
        port_mapper: Service | None = None,
    ) -> None:
        self.root = root.resolve()
        self.amqp_port = amqp_port
        self.dist_port = dist_port
        self.epmd_port = epmd_port
        self.definitions = definitions
        self.settings = tuple(settings)
        self.advanced = advanced
        self._prepare()
        environment = node_environment(self.root, self.nodename, epmd_port)
        logs = self.root / "log"
        self._owns_port_mapper = port_mapper is None
        self.epmd = port_mapper or Service(
            "the port mapper of RabbitMQ",
            inside(("epmd", "-address", "127.0.0.1", "-port", str(epmd_port))),
            log=logs / "epmd.log",
            env=environment,
        )
        self.broker = Service(
            "RabbitMQ",
            inside((SERVER,)),
            log=logs / "rabbitmq.log",
            env=environment | self._server_environment(),
        )

    def url(self, user: str, password: str, vhost: str = "mri") -> str:
        """Return the AMQP URL for a user."""
        return f"amqp://{user}:{password}@127.0.0.1:{self.amqp_port}/{vhost}"

    def start(self) -> None:
        """Start port mapper and broker; `wait_ready` says when they answer."""
        self._write_configuration()
        self.start_port_mapper()
        self.broker.start()
        record = {
            "nodename": self.nodename,
            "epmd_port": self.epmd_port,
            "amqp_port": self.amqp_port,
            "pid": self.broker.pid,
        }
        write_private(self.root / "node.json", json.dumps(record) + "\n")

    def start_port_mapper(self) -> None:
        """Start the port mapper, unless it runs already, and wait until it answers.

        The broker would start one that outlives it when it found none.
        """
        if not self.epmd.alive:
            self.epmd.start()
        self.epmd.wait_until(lambda: _answers(self.epmd_port), "open its port", 10.0)

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait until clients can connect and every queue of the definitions exists.

        3.10.8 may boot with a definitions file that it ignored: an open port proves nothing.
        """
        self.wait_answering(timeout)
        wanted: dict[str, set[str]] = {}
        for queue in self.definitions.get("queues", ()):
            wanted.setdefault(queue["vhost"], set()).add(queue["name"])
        for vhost, names in wanted.items():
            present = set(self.ctl("-q", "-p", vhost, "list_queues", "name").split())
            if missing := sorted(names - present):
                raise ServiceFailed(
                    f"RabbitMQ is up but ignored its definitions: vhost {vhost} has no "
                    f"{', '.join(missing)}:\n{self.broker.log_tail()}"
                )

    def wait_answering(self, timeout: float = START_SECONDS) -> None:
        """Wait until clients can connect."""
        what = f"answer on port {self.amqp_port}"
        self.broker.wait_until(lambda: _answers(self.amqp_port), what, timeout)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this node and return what it printed; or `ServiceFailed`."""
        try:
            done = run_ctl(self.root, arguments, capture=True)
        except (NodeNotRunning, subprocess.TimeoutExpired) as error:
            raise ServiceFailed(f"rabbitmqctl {' '.join(arguments)} got no answer") from error
        if done.returncode:
            raise ServiceFailed(f"rabbitmqctl {' '.join(arguments)} failed:\n{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Stop broker and port mapper; a shared one goes on."""
        self.broker.stop(STOP_SECONDS)
        if self._owns_port_mapper:
            self.epmd.stop()
        (self.root / "node.json").unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill the broker as a crash would (SIGKILL); the port mapper stays for `start`."""
        self.broker.kill()

    def restart(self) -> None:
        """Stop the broker cleanly, start it on the same data and wait until it is ready."""
        self.broker.stop(STOP_SECONDS)
        self.start()
        self.wait_ready()

    def _prepare(self) -> None:
        private_directory(self.root)
        # The data belong to the node's name, so the name is made once. `localhost`: the node does
        # not depend on what the machine is called, now or after a move.
        name = self.root / "nodename"
        if not name.exists():
            write_private(name, f"labrelay-{secrets.token_hex(4)}@localhost\n")
        self.nodename = name.read_text("utf-8").strip()
        cookie = self.root / ".erlang.cookie"
        if not cookie.exists():
            write_private(cookie, secrets.token_hex(32), mode=0o400)

    def _write_configuration(self) -> None:
        definitions = self.root / "definitions.json"
        write_private(definitions, json.dumps(self.definitions, indent=2) + "\n")
        lines = (
            BASE_CONF.read_text("utf-8"),
            "# Appended for the private node.",
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}",
            *self.settings,
            # Users in here also keep the node from making its default user, guest.
            *((f"load_definitions = {definitions}",) if self.definitions else ()),
        )
        write_private(self.root / "rabbitmq.conf", "\n".join(lines) + "\n")
        write_private(self.root / "advanced.config", self.advanced + "\n")
        write_private(self.root / "enabled_plugins", "[].\n")
        # Empty, and named all the same: otherwise the machine's own file would be read.
        write_private(self.root / "rabbitmq-env.conf", "")

    def _server_environment(self) -> dict[str, str]:
        return {
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.root / "data"),
            "RABBITMQ_LOG_BASE": str(self.root / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(self.root / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.root / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.root / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.root / "pid"),
            # Not into whatever directory we were started in.
            "ERL_CRASH_DUMP": str(self.root / "log" / "erl_crash.dump"),
            # The start script then becomes the broker and does not stay as its parent, so that
            # our pid is the broker's and our SIGTERM its clean stop.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {LOOPBACK_ONLY}",
        }


def node_environment(root: Path, nodename: str, epmd_port: int) -> dict[str, str]:
    """Return what broker, port mapper and rabbitmqctl of one node must agree on."""
    return child_environment(
        {
            # The cookie that both sides show each other is looked for in HOME.
            "HOME": str(root),
            "RABBITMQ_NODENAME": nodename,
            "RABBITMQ_CONF_ENV_FILE": str(root / "rabbitmq-env.conf"),
            "RABBITMQ_CTL_ERL_ARGS": LOOPBACK_ONLY,
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
    )


def run_ctl(
    root: Path, arguments: tuple[str, ...], *, capture: bool
) -> subprocess.CompletedProcess[str]:
    """Run rabbitmqctl against the node under `root`; `NodeNotRunning` when there is none.

    Looked at first, because rabbitmqctl would otherwise start a port mapper and leave it behind.
    """
    root = root.resolve()
    record = root / "node.json"
    node = json.loads(record.read_text("utf-8")) if record.exists() else None
    if node is None or not _answers(node["epmd_port"]):
        raise NodeNotRunning(f"no RabbitMQ runs under {root}; `make demo` starts one")
    return subprocess.run(
        inside((CTL, *arguments)),
        env=node_environment(root, node["nodename"], node["epmd_port"]),
        text=True,
        capture_output=capture,
        timeout=CTL_SECONDS if capture else None,
        check=False,
    )


def is_running(root: Path) -> bool:
    """Whether the node under `root` takes connections."""
    record = root / "node.json"
    return record.exists() and _answers(json.loads(record.read_text("utf-8"))["amqp_port"])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
