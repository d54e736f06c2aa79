"""Private nodes: up, closed to strangers, durable over restarts, gone when stopped."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path

import pika
import pika.exceptions
import pytest
import requests
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from infra.local import rabbitmqctl
from infra.local.orthanc import OrthancNode
from infra.local.ports import PortTaken, free_ports, require_free
from infra.local.process import Service, ServiceFailed, wait_until
from infra.local.rabbitmq import RabbitNode
from messages import topology
from tests.integration.nodes import TestBroker, running_orthanc, running_rabbit

LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def processes_of(root: Path) -> list[int]:
    """Every process of a node, whatever its session: all inherit HOME, which is the root."""
    mark = f"HOME={root.resolve()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def living_in(session: int | None) -> list[str]:
    columns = ("ps", "-eo", "sid=,stat=,args=")
    listed = subprocess.run(columns, capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[2] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]


def listening_addresses(port: int) -> set[str]:
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    local = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {address for address, number in local if int(number, 16) == port}


def ended(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except OSError:
        return True


def connect(broker: TestBroker, user: str, password: str = "") -> pika.BlockingConnection:
    url = broker.node.url(user, password) if password else broker.url(user)
    return pika.BlockingConnection(pika.URLParameters(url))


def an_instance() -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientID = "SIM-1"
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "MR"
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def test_the_broker_has_every_queue_of_the_topology_and_no_guest(rabbit: TestBroker) -> None:
    queues = rabbit.node.ctl("-q", "-p", "mri", "list_queues", "name").split()
    users = rabbit.node.ctl("-q", "list_users").split()

    assert {queue["name"] for queue in topology.definitions()["queues"]} <= set(queues)
    assert "web" in users
    assert "guest" not in users


def test_the_broker_listens_on_loopback_only(rabbit: TestBroker) -> None:
    node = rabbit.node
    for port in (node.amqp_port, node.dist_port, node.epmd_port):
        addresses = listening_addresses(port)
        assert addresses
        assert addresses <= LOOPBACK


def test_the_broker_refuses_guest_and_wrong_passwords(rabbit: TestBroker) -> None:
    for user, password in (("guest", "guest"), ("web", "wrong")):
        with pytest.raises(pika.exceptions.ProbableAuthenticationError):
            connect(rabbit, user, password)


def test_the_broker_runs_with_the_settings_that_long_jobs_need(rabbit: TestBroker) -> None:
    printed = rabbit.node.ctl("environment")
    flags = dict(
        line.split()[:2] for line in rabbit.node.ctl("-q", "list_feature_flags").splitlines()
    )

    assert "{consumer_timeout,7200000}" in printed
    assert "{wal_max_size_bytes,67108864}" in printed
    assert flags["stream_queue"] == "enabled"


def test_a_confirmed_message_outlives_a_restart_and_a_crash_of_the_broker(tmp_path: Path) -> None:
    with running_rabbit(tmp_path / "rabbit") as broker:
        connection = connect(broker, "web")
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=2)
        for body in (b"first", b"second"):
            channel.basic_publish("mri.requests", "lab.model", body, persistent, mandatory=True)
        connection.close()

        broker.node.restart()
        connection = connect(broker, "lab1")
        _, _, first = connection.channel().basic_get("mri.requests.lab", auto_ack=True)
        connection.close()
        broker.node.kill()
        assert not broker.node.broker.alive
        broker.node.start()
        broker.node.wait_ready()
        connection = connect(broker, "lab1")
        _, _, second = connection.channel().basic_get("mri.requests.lab", auto_ack=True)
        connection.close()

        assert (first, second) == (b"first", b"second")
        assert processes_of(broker.node.root)
    assert processes_of(broker.node.root) == []


def test_a_broker_that_ignored_its_definitions_is_an_error(rabbit: TestBroker) -> None:
    node = rabbit.node
    also_wanted = {"queues": [*node.definitions["queues"], {"vhost": "mri", "name": "absent"}]}
    other = RabbitNode(
        node.root,
        amqp_port=node.amqp_port,
        dist_port=node.dist_port,
        epmd_port=node.epmd_port,
        definitions=also_wanted,
    )

    with pytest.raises(ServiceFailed, match="vhost mri has no absent"):
        other.wait_ready()


def test_rabbitmqctl_reaches_the_node_and_says_so_when_there_is_none(
    rabbit: TestBroker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert rabbitmqctl.main(["-q", "list_vhosts"], rabbit.node.root) == 0
    assert "mri" in capfd.readouterr().out

    assert rabbitmqctl.main(["list_vhosts"], tmp_path) == 1
    assert capfd.readouterr().err.startswith("no RabbitMQ runs under")


def test_the_archive_asks_for_a_password_and_opens_no_dicom_port(orthanc: OrthancNode) -> None:
    assert requests.get(f"{orthanc.url}/system", timeout=5).status_code == 401
    wrong = requests.get(f"{orthanc.url}/system", auth=("labrelay", "x"), timeout=5)
    assert wrong.status_code == 401

    log_in = (orthanc.user, orthanc.password)
    assert requests.get(f"{orthanc.url}/dicom-web/studies", auth=log_in, timeout=5).ok
    assert listening_addresses(orthanc.http_port)
    assert "The DICOM server is disabled" in orthanc.server.log_tail(200)


def test_the_archive_keeps_an_instance_over_a_restart_and_a_crash(tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc") as node:
        log_in = (node.user, node.password)
        sent = requests.post(f"{node.url}/instances", an_instance(), auth=log_in, timeout=10)
        assert sent.json()["Status"] == "Success"

        node.restart()
        node.kill()
        node.start()
        node.wait_ready()

        kept = requests.get(f"{node.url}/instances", auth=log_in, timeout=10).json()
        assert kept == [sent.json()["ID"]]
    assert processes_of(node.root) == []


def test_nobody_else_can_read_a_nodes_files(rabbit: TestBroker, orthanc: OrthancNode) -> None:
    for root in (rabbit.node.root, orthanc.root):
        assert root.stat().st_mode & 0o777 == 0o700
    for path in (rabbit.node.root / "definitions.json", orthanc.root / "orthanc.json"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_one_sentence_with_the_variable_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken) as raised:
            require_free(port, "WEB_PORT")
    assert str(raised.value) == (
        f"port {port} is taken by another program; set WEB_PORT to a free one"
    )
    assert len(set(free_ports(5))) == 5


def test_a_service_ends_with_its_whole_group_and_quotes_its_log_when_it_died(
    tmp_path: Path,
) -> None:
    stubborn = "trap '' TERM; sleep 600 & echo started; wait; sleep 600"
    service = Service("stub", ("sh", "-c", stubborn), log=tmp_path / "stub.log")
    service.start()
    service.wait_until(lambda: "started" in service.log_tail(), "say so", 5.0)
    session = service.pid
    assert len(living_in(session)) == 2
    service.stop(grace=0.2)
    assert living_in(session) == []

    dead = Service("stub", ("sh", "-c", "echo no disk; exit 3"), log=tmp_path / "dead.log")
    dead.start()
    with pytest.raises(ServiceFailed, match="ended before it could answer:\nno disk"):
        dead.wait_until(lambda: False, "answer", 5.0)
    dead.stop()


def test_a_service_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = (
        "import sys; from pathlib import Path; from infra.local.process import Service;"
        f"s = Service('stub', ('sleep', '600'), log=Path({str(tmp_path)!r}) / 'log'); s.start();"
        "print(s.pid, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        (sys.executable, "-c", owner), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = Path("/proc") / process.stdout.readline().strip()
    wait_until(lambda: (child / "comm").read_text() == "sleep\n", "become its command", 5.0)

    process.kill()
    process.communicate()

    wait_until(lambda: ended(child), "end with its owner", 5.0)
