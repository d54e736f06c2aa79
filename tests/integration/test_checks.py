"""Both checklists against planted faults, on a real broker and real archives.

All runs are made when the first test asks: each is a process of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.local.orthanc import OrthancNode, dicomweb_plugin
from infra.local.ports import free_ports
from infra.local.settings import REPOSITORY, child_environment
from messages import topology
from tests.integration.forked import Done, Run, run_all
from tests.integration.lab import orthanc_get
from tests.integration.nodes import LABS, TestBroker

#: A password that nobody has.
WRONG = "a-wrong-secret"

#: Loaded once for all runs.
LAB_LOADS = ("consumer.__main__", "pydicom")
WEB_LOADS = (
    "django.db.models",
    "django.urls",
    "django.core.serializers.json",
    "aio_pika",
    "httpx",
    "pydantic_settings",
    "structlog",
    "pydicom",
)

#: Takes nothing in.
LUA_FILTER = "function ReceivedInstanceFilter(dicom, origin, info) return false end\n"

#: As quick as a check of the lab can be; the cases of archive and device leave one out.
QUICK = ("--no-load", "--no-store")


@dataclass(frozen=True)
class Case:
    """What is planted, and the line that finds it: its noun, and what the fix names."""

    noun: str
    fix: str
    settings: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = QUICK


LAB_CASES = {
    "a setting is missing": Case("settings", "EnvironmentFile", {"ORTHANC_URL": ""}),
    "the broker is down": Case("broker", "start RabbitMQ", {"RABBITMQ_URL": "{nobody}"}),
    "TLS with the plain port": Case("broker", "amqps://", {"RABBITMQ_URL": "{tls}"}),
    "a wrong password": Case("credentials", "change_password", {"RABBITMQ_URL": "{wrong}"}),
    "a wrong virtual host": Case("vhost", "/mri", {"RABBITMQ_URL": "{nowhere}"}),
    "no topology": Case("queues", "import_definitions", {"RABBITMQ_URL": "{bare}"}),
    "another pool than its own": Case("permissions", "LAB_POOL", {"LAB_POOL": "server"}),
    "another name than its user's": Case("permissions", "LAB_NAME", {"LAB_NAME": "gpu-2"}),
    "no right to write events": Case("permissions", "set_permissions", {"RABBITMQ_URL": "{mute}"}),
    "no topic permissions": Case(
        "topic permissions",
        "set_topic_permissions -p mri loose mri.retry.lab.30s '^(rules\\.)?lab\\.'",
        {"RABBITMQ_URL": "{loose}"},
    ),
    "the archive is down": Case("archive", "ORTHANC_URL", {"ORTHANC_URL": "http://127.0.0.1:1"}),
    "a wrong password of the archive": Case(
        "archive credentials", "ORTHANC_PASSWORD", {"ORTHANC_PASSWORD": WRONG}
    ),
    "no DICOMweb": Case("DICOMweb", "orthanc-dicomweb", {"ORTHANC_URL": "{poor}"}),
    "an archive that takes nothing": Case(
        "writable", "Lua filter", {"ORTHANC_URL": "{poor}"}, ("--no-load",)
    ),
    "an archive that overwrites": Case(
        "first write stays", "OverwriteInstances", {"ORTHANC_URL": "{forgetful}"}, ("--no-load",)
    ),
    "no bundle": Case("model", "MODEL_PATH", {"MODEL_PATH": "/nowhere"}),
    "no weights": Case("model", "weights included", {"MODEL_PATH": "{weightless}"}),
    "weights that Git LFS has not fetched": Case(
        "model", "weights included", {"MODEL_PATH": "{pointer}"}
    ),
    "no GPU": Case("device", "DEVICE=cpu", {"DEVICE": "cuda:7"}, ("--no-store",)),
}

WEB_CASES = {
    "no secret key": Case("settings", "32 characters", {"SECRET_KEY": ""}),
    "no database": Case("database", "mri-web migrate", {"VAR_DIR": "{empty}"}),
    "no migration": Case("migrations", "mri-web migrate", {"VAR_DIR": "{unmigrated}"}),
    "the broker is down": Case("broker", "start RabbitMQ", {"RABBITMQ_URL": "{nobody}"}),
    "a wrong password": Case("credentials", "change_password", {"RABBITMQ_URL": "{wrong}"}),
    "a wrong virtual host": Case("vhost", "/mri", {"RABBITMQ_URL": "{nowhere}"}),
    "no topology": Case("queues", "import_definitions", {"RABBITMQ_URL": "{bare}"}),
    "the user of a lab": Case("permissions", "set_permissions", {"RABBITMQ_URL": "{mute}"}),
    "the archive is down": Case("archive", "ORTHANC_URL", {"ORTHANC_URL": "http://127.0.0.1:1"}),
    "a wrong password of the archive": Case(
        "archive credentials", "ORTHANC_PASSWORD", {"ORTHANC_PASSWORD": WRONG}
    ),
    "no DICOMweb": Case("DICOMweb", "orthanc-dicomweb", {"ORTHANC_URL": "{poor}"}),
}


class OtherOrthanc(OrthancNode):
    """An archive with a configuration of its own."""

    def __init__(self, root: Path, changes: Mapping[str, Any], **arguments: Any) -> None:
        super().__init__(root, **arguments)
        self._changes = changes

    def _configuration(self) -> dict[str, Any]:
        return super()._configuration() | dict(self._changes)

    def wait_ready(self, timeout: float = 30.0) -> None:
        self.server.wait_until(
            lambda: self._status("/system", log_in=True) == 200, "answer", timeout
        )


@dataclass(frozen=True)
class Runs:
    """Every run of the module."""

    lab: dict[str, Done]
    web: dict[str, Done]
    #: Names of the broker's queues, and objects of the archive, before all of them and after.
    before: tuple[set[str], int]
    after: tuple[set[str], int]


@contextmanager
def faulty_users(rabbit: TestBroker, folder: Path) -> Iterator[None]:
    """A user who may not write events, one without topic permissions, and an empty vhost."""
    passwords = dict.fromkeys(("admin", "web", "mute", "loose"), WRONG)
    whole = topology.with_users(passwords, {"mute": "lab", "loose": "lab"})

    def of(kind: str, *names: str) -> list[dict[str, Any]]:
        return [item for item in whole[kind] if (item.get("user") or item["name"]) in names]

    permissions = of("permissions", "mute", "loose")
    permissions[0]["write"] = permissions[0]["write"].replace(r"mri\.events\.lab|", "")
    controls = [
        queue.name for u in ("mute", "loose") for queue in topology.control_queues(u, "lab")
    ]
    bare = {"vhost": "bare", "configure": ".*", "write": ".*", "read": ".*"}
    file = folder / "faulty.json"
    file.write_text(
        json.dumps(
            {
                "vhosts": [{"name": "bare"}],
                "users": of("users", "mute", "loose"),
                "permissions": [*permissions, *({"user": u, **bare} for u in ("lab1", "web"))],
                "topic_permissions": of("topic_permissions", "mute"),
                "queues": of("queues", *controls),
            }
        )
    )
    rabbit.node.ctl("-q", "import_definitions", str(file))
    try:
        yield
    finally:
        for queue in controls:
            rabbit.node.ctl("-q", "-p", topology.VHOST, "delete_queue", queue)
        rabbit.node.ctl(
            "-q",
            "eval",
            '[rabbit_auth_backend_internal:delete_user(U, <<"test">>) || '
            'U <- [<<"mute">>, <<"loose">>]], rabbit_vhost:delete(<<"bare">>, <<"test">>).',
        )


@contextmanager
def other_orthanc(root: Path, like: OrthancNode, changes: Mapping[str, Any]) -> Iterator[str]:
    (port,) = free_ports(1)
    node = OtherOrthanc(root, changes, http_port=port, user=like.user, password=like.password)
    try:
        node.start()
        node.wait_ready()
        yield node.url
    finally:
        node.stop()


def bundles(folder: Path) -> dict[str, str]:
    """Copies of the held bundle: a whole one, and some that each lack something."""
    made = {}
    # A bundle that runs writes into its folder: a copy, also of the whole one.
    for name in ("held", "weightless", "pointer"):
        made[name] = str(folder / name)
        shutil.copytree(REPOSITORY / "tests" / "bundles" / "held", made[name])
    for name in ("weightless", "pointer"):
        config = folder / name / "configs" / "inference.json"
        text = config.read_text("utf-8")
        config.write_text(text.replace("{", '{"weights": "models/model.pt",', 1), "utf-8")
    weights = folder / "pointer" / "models" / "model.pt"
    weights.parent.mkdir(exist_ok=True)
    weights.write_text("version https://git-lfs.github.com/spec/v1\n")
    return made


def databases(folder: Path) -> dict[str, str]:
    """Folders for VAR_DIR."""
    for name in ("empty", "unmigrated", "migrated"):
        (folder / name).mkdir()
    (folder / "unmigrated" / "web.sqlite3").touch()
    environment = child_environment({"VAR_DIR": str(folder / "migrated")})
    subprocess.run(
        (sys.executable, "-m", "web.cli", "migrate", "--verbosity", "0"),
        env=environment,
        cwd=REPOSITORY,
        check=True,
    )
    return {name: str(folder / name) for name in ("empty", "unmigrated", "migrated")}


@pytest.fixture(scope="module")
def runs(
    rabbit: TestBroker, orthanc: OrthancNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("checks")
    script = folder / "filter.lua"
    script.write_text(LUA_FILTER)
    with ExitStack() as stack:
        stack.enter_context(faulty_users(rabbit, folder))
        poor = {"Plugins": [], "LuaScripts": [str(script)]}
        forgetful = {"Plugins": [str(dicomweb_plugin())], "OverwriteInstances": True}
        places = {
            "poor": stack.enter_context(other_orthanc(folder / "poor", orthanc, poor)),
            "forgetful": stack.enter_context(
                other_orthanc(folder / "forgetful", orthanc, forgetful)
            ),
            **bundles(folder),
            **databases(folder),
        }
        before = left_behind(rabbit, orthanc)
        lab = {
            name: lab_run(case, rabbit, orthanc, places)
            for name, case in {**LAB_CASES, "": Case("", "", options=())}.items()
        }
        web = {
            name: web_run(case, rabbit, orthanc, places)
            for name, case in {**WEB_CASES, "": Case("", "")}.items()
        }
        with ThreadPoolExecutor(2) as pool:
            lab_ends = pool.submit(run_all, "consumer.__main__:main", lab, load=LAB_LOADS)
            web_ends = pool.submit(run_all, "web.cli:main", web, load=WEB_LOADS)
            ends = lab_ends.result(), web_ends.result()
        yield Runs(*ends, before, left_behind(rabbit, orthanc))


def left_behind(rabbit: TestBroker, orthanc: OrthancNode) -> tuple[set[str], int]:
    rows = rabbit.node.ctl("-q", "-p", topology.VHOST, "list_queues", "name", "messages")
    return set(rows.splitlines()), orthanc_get(orthanc, "/statistics")["CountInstances"]


def urls(rabbit: TestBroker, user: str) -> dict[str, str]:
    good = rabbit.url(user)
    return {
        "good": good,
        "nobody": f"amqp://{user}:{WRONG}@127.0.0.1:1/mri",
        "wrong": rabbit.node.url(user, WRONG),
        "nowhere": good.replace("/mri", "/nowhere"),
        "bare": good.replace("/mri", "/bare"),
        "tls": good.replace("amqp:", "amqps:"),
        "mute": rabbit.node.url("mute", WRONG),
        "loose": rabbit.node.url("loose", WRONG),
    }


def lab_run(case: Case, rabbit: TestBroker, orthanc: OrthancNode, places: dict[str, str]) -> Run:
    # What the limits let in is warned of on a machine with less memory.
    limits = dict.fromkeys(("MAX_REQUEST_BYTES", "MAX_VOLUME_BYTES"), str(2**30))
    settings = {"LAB_POOL": LABS["lab1"], "MODEL_PATH": "{held}", **limits}
    places = places | urls(rabbit, "lab1")
    return Run(("check", *case.options), environment(case, settings, orthanc, places))


def web_run(case: Case, rabbit: TestBroker, orthanc: OrthancNode, places: dict[str, str]) -> Run:
    settings = {"VAR_DIR": "{migrated}", "SECRET_KEY": "0123456789" * 5}
    return Run(("check",), environment(case, settings, orthanc, places | urls(rabbit, "web")))


def environment(
    case: Case, settings: dict[str, str], orthanc: OrthancNode, places: dict[str, str]
) -> dict[str, str]:
    chosen = {
        "RABBITMQ_URL": "{good}",
        "ORTHANC_URL": orthanc.url,
        "ORTHANC_USER": orthanc.user,
        "ORTHANC_PASSWORD": orthanc.password,
        **settings,
        **case.settings,
    }
    filled = {key: value.format(**places) for key, value in chosen.items()}
    return child_environment({key: value for key, value in filled.items() if value})


def assert_found(case: Case, done: Done) -> None:
    assert "Traceback" not in done.output
    assert done.status == 1, done.output
    assert WRONG not in done.output
    assert f"✗ {case.noun}: " in done.output, done.output
    start = done.output.index(f"✗ {case.noun}: ")
    line = done.output[start:].split("\n✓")[0].split("\n-")[0].split("\n✗")[0]
    assert case.fix in line.partition("fix: ")[2], done.output


@pytest.mark.parametrize("fault", LAB_CASES, ids=str)
def test_the_lab_finds_what_is_wrong_and_names_the_fix(runs: Runs, fault: str) -> None:
    assert_found(LAB_CASES[fault], runs.lab[fault])


@pytest.mark.parametrize("fault", WEB_CASES, ids=str)
def test_the_site_finds_what_is_wrong_and_names_the_fix(runs: Runs, fault: str) -> None:
    assert_found(WEB_CASES[fault], runs.web[fault])


def test_a_lab_that_lacks_nothing_gets_a_check_mark_for_everything(runs: Runs) -> None:
    done = runs.lab[""]
    assert done.status == 0, done.output
    # An archive without a proxy may name no time.
    rows = [line for line in done.output.splitlines() if not line.startswith("- clock: ")]
    assert all(line.startswith("✓ ") for line in rows), done.output
    nouns = [line.split(":")[0].removeprefix("✓ ") for line in done.output.splitlines()]
    assert nouns[1:8] == [
        "broker", "credentials", "vhost", "queues", "identity", "permissions", "topic permissions",
    ]  # fmt: skip
    assert {"writable", "first write stays", "read back", "WADO-RS", "device", "loading"} < {*nouns}


def test_a_site_that_lacks_nothing_gets_a_check_mark_for_everything(runs: Runs) -> None:
    done = runs.web[""]
    assert done.status == 0, done.output
    rows = [line for line in done.output.splitlines() if not line.startswith("System check")]
    # No lab was heard of yet, and nothing analysed: worth saying, and no fault.
    assert [line for line in rows if not line.startswith("✓ ")] == [
        (
            "! labs: none is confirmed yet  — fix: mri-web lab add NAME --pool POOL, and start "
            "mri-consumer run there"
        ),
        "- newest result: there is none yet; mri-consumer check stores an object and reads it",
    ]


def test_what_could_not_be_looked_at_says_what_it_waits_for(runs: Runs) -> None:
    output = runs.lab["a wrong password"].output
    assert "- permissions: skipped, needs credentials" in output
    # The rest of the list goes on.
    assert "✓ DICOMweb" in output


def test_no_check_leaves_a_queue_a_message_or_an_object_behind(runs: Runs) -> None:
    assert runs.before == runs.after


def test_asked_for_tags_it_is_djangos_own_command() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "web.cli", "check", "--tag", "security"),
        env=child_environment({"RABBITMQ_URL": f"amqp://web:{WRONG}@127.0.0.1:1/mri"}),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "System check identified no issues (0 silenced)."
