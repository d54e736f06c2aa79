"""Fixtures for every test: one real broker and one real archive for the session, on demand."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from infra.local import ports
from infra.local.orthanc import OrthancNode
from tests import dciodvfy, timings
from tests.integration.nodes import TestBroker, running_orthanc, running_rabbit
from web.access import limits

#: Files that take more than a minute. They begin first: at the end one would run alone, beside
#: workers with nothing left to do.
LONG = (
    "faults/test_matrix.py",
    "faults/test_soak.py",
    "unit/test_grids_read_back.py",
    "integration/test_demo.py",
    "integration/test_cancel_whole.py",
    "integration/test_lab_quarantine.py",
    "contract/test_legacy_replay.py",
    "browser/test_whole_path.py",
    "browser/test_ohif.py",
    "integration/test_lab.py",
    "integration/test_lab_stop.py",
    "integration/test_lab_cancel.py",
    "integration/test_checks.py",
    "integration/test_archive_bombs.py",
)


#: What shows that a test touches a broker or an archive: a fixture, or something in its file that
#: starts a server of its own.
SERVER_FIXTURES = {"rabbit", "orthanc"}
SERVER_STARTERS = (
    "running_rabbit",
    "running_orthanc",
    "running_system",
    "RabbitNode",
    "RabbitCluster",
)

#: Files whose servers are started by another program that they run.
SERVER_FILES = ("test_demo.py", "test_cluster.py")


def touches_servers(item: pytest.Item) -> bool:
    """Whether the test says something of the version of RabbitMQ or Orthanc."""
    module = getattr(item, "module", None)
    return (
        not SERVER_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or any(hasattr(module, name) for name in SERVER_STARTERS)
        or item.path.name in SERVER_FILES
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long files first; the others stay as they came. Leave out what is not asked for."""
    here = Path(__file__).parent
    begin = {here / name: place for place, name in enumerate(LONG)}
    if config.getoption("--without-long"):
        config.hook.pytest_deselected(items=[item for item in items if item.path in begin])
        items[:] = [item for item in items if item.path not in begin]
    if config.getoption("--touching-servers"):
        others = [item for item in items if not touches_servers(item)]
        items[:] = [item for item in items if touches_servers(item)]
        config.hook.pytest_deselected(items=others)
    items.sort(key=lambda item: begin.get(item.path, len(LONG)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of a file, look for what nobody closed.

    A socket that is left to the collector is a warning, and so an error, in whichever test comes
    next when it happens to run: here it is one in the file that left it.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run repeat what chance chose for another: its output names the seed."""
    parser.addoption(
        "--arriving-gap",
        type=float,
        default=1.0,
        help="seconds between two parts of the study in test_arriving_whole.py",
    )
    parser.addoption(
        "--touching-servers",
        action="store_true",
        help="only tests that touch a broker or an archive (make newer-servers)",
    )
    parser.addoption(
        "--without-long",
        action="store_true",
        help="without the files that take more than a minute (make check)",
    )
    parser.addoption("--timings", help="file for what each file and test cost")
    parser.addoption("--cancel-seed", type=int, help="of the moments in test_cancel_whole.py")


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers ports of its own: a free one must stay free until used."""
    dciodvfy.listen()
    timings.register(config)
    worker = getattr(config, "workerinput", None)
    if worker:
        number = int(worker["workerid"].removeprefix("gw"))
        share = len(ports.TEST_PORTS) // worker["workercount"]
        # A piece and not every second one: a cluster takes several in a row.
        ports.TEST_PORTS = ports.TEST_PORTS[number * share : (number + 1) * share]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put the test database where pytest cleans up: a file, as in service."""
    name = tmp_path_factory.mktemp("database") / "web.sqlite3"
    settings.DATABASES["default"]["TEST"]["NAME"] = str(name)


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBroker]:
    """A RabbitMQ with the project's topology. Do not stop or kill it: `running_rabbit` gives
    a test its own. Empty the queues you use; others use them too."""
    with running_rabbit(tmp_path_factory.mktemp("rabbit")) as broker:
        yield broker


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancNode]:
    """An Orthanc with DICOMweb. Do not stop or kill it: `running_orthanc` gives a test its own."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as node:
        yield node


@pytest.fixture(autouse=True)
def every_result_is_valid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """dciodvfy finds no error in any SEG, SR or SC that a test writes, whatever it is about."""
    dciodvfy.forget()
    yield
    if dciodvfy.written():
        dciodvfy.assert_valid(dciodvfy.written(), tmp_path_factory.mktemp("dciodvfy"))


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    """A test does not meet the rate limits of those before it: each has the same user ids."""
    limits.reset()
