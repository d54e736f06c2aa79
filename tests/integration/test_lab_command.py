"""``mri-web lab add`` on a real broker: what it makes is enough for a lab, and no more."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pika
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pika.exceptions import ChannelClosedByBroker
from pydantic import SecretStr

from consumer.checks import broker as lab_check
from consumer.checks.line import State
from consumer.settings import LabSettings
from infra.local.rabbitmq import CTL, node_environment
from messages import topology
from tests.integration.nodes import TestBroker, running_rabbit
from web.labs import registry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestBroker]:
    """A broker of its own, that ``rabbitmqctl`` on the path speaks with."""
    with running_rabbit(tmp_path / "rabbit") as broker:
        node = broker.node
        variables = node_environment(node.root, node.nodename, node.epmd_port)
        exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in variables.items())
        wrapper = tmp_path / "bin" / "rabbitmqctl"
        wrapper.parent.mkdir()
        # As Debian's own wrapper it changes directory.
        wrapper.write_text(f'#!/bin/sh\n{exports}cd /\nexec {CTL} -n {node.nodename} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")  # noqa: TID251
        kept = {"var_dir": tmp_path, "rabbitmq_url": SecretStr(broker.url("web"))}
        monkeypatch.setattr(settings, "SITE", settings.SITE.model_copy(update=kept))
        yield broker


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("lab", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def lines_that_are_not_right(url: str, pool: str) -> list[str]:
    """What the lab's own look at the broker has to say."""
    settings = LabSettings(rabbitmq_url=url, orthanc_url="http://127.0.0.1:1")
    # The pool as copied: the settings know the two that are shipped.
    lines = list(lab_check.check(settings.model_copy(update={"lab_pool": pool})))
    assert len(lines) > len(("broker", "credentials", "vhost"))
    return [str(line) for line in lines if line.state is not State.OK]


def test_a_lab_that_is_added_here_can_work_in_its_pool_and_nowhere_else(
    broker: TestBroker, tmp_path: Path
) -> None:
    told = said("add", "ward1", "--pool", "ward", "--apply")
    assert told.endswith("The broker has it.\n")
    assert not (tmp_path / "labs" / "ward1.definitions.json").exists()
    url = (tmp_path / "labs" / "ward1.url").read_text().strip().removeprefix("RABBITMQ_URL=")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_get(topology.requests_queue("ward"))
        channel.basic_get(topology.control_queue("ward1", 1))
        signed = pika.BasicProperties(user_id="ward1")
        key = "request.accepted"
        channel.basic_publish(topology.events_exchange("ward"), key, b"{}", signed)
        foreign = {
            topology.events_exchange("lab"): key,
            topology.retry_exchange("lab", "30s"): "lab.m",
        }
        for exchange, its_key in foreign.items():
            channel = connection.channel()
            channel.confirm_delivery()
            with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
                channel.basic_publish(exchange, its_key, b"{}", signed)
    assert lines_that_are_not_right(url, "ward") == []
    # Again, and nothing changes: the lab can still come in.
    said("add", "ward1", "--pool", "ward", "--apply")
    pika.BlockingConnection(pika.URLParameters(url)).close()
    # Once its setting was taken away, nothing here gives it another password by mistake.
    (tmp_path / "labs" / "ward1.url").unlink()
    with pytest.raises(CommandError, match="--keep-user keeps the old one"):
        said("add", "ward1", "--pool", "ward", "--apply")
    pika.BlockingConnection(pika.URLParameters(url)).close()


def test_the_commands_for_a_lab_whose_user_exists_do_what_they_say(broker: TestBroker) -> None:
    node = broker.node
    node.ctl("-q", "add_user", "ward2", "its-own-password")
    told = said("add", "ward2", "--pool", "ward", "--keep-user")
    for line in told.splitlines():
        words = shlex.split(line)
        if words[:1] == ["sudo"]:
            if words[1] == "rabbitmqctl" and words[2] != "import_definitions":
                node.ctl("-q", *words[2:])
            elif words[1] == "install":
                node.ctl("-q", "import_definitions", words[-2])
    url = broker.url("lab1").replace(f"lab1:{broker.passwords['lab1']}", "ward2:its-own-password")
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.basic_get(topology.control_queue("ward2", topology.CONTROL_QUEUES))
    assert '"max_connections"' in node.ctl("-q", "list_user_limits", "--user", "ward2") or (
        "max-connections" in node.ctl("-q", "list_user_limits", "--user", "ward2")
    )
    assert registry.pool_of("ward2") == "ward"
