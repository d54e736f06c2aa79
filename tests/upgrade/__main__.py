"""``make upgrade-trial``: the programs of the version before and those of today, on one broker.

In the order of `infra/rabbitmq/UPGRADE.md`: old site and old lab; the broker gets the new topology
while messages lie in the old one; old lab with new site; new lab with old site, as after a step
back; both new; and then what is old is taken away. After each step a reader clicks. The old
programs come from the project's history, so a checkout without it cannot do this.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from infra.demo.reader import Reader, ended
from infra.demo.stack import LAB, PAGE_USER, POOL, Ports, Stack
from infra.local.process import ServiceFailed, wait_until
from infra.local.settings import REPOSITORY
from messages import topology, topology_before
from tests.asks_at_once import ASKS_AT_ONCE
from tests.integration.lab import HeldBundle, StoredStudy, store_small_study

#: The last commit with the topology of before.
BEFORE = "addb4a1"

#: Seconds for a click to end, with the longest pause of whoever lost a connection.
CLICK_SECONDS = 120.0


class Trial:
    """One broker, one archive and one database, and the programs of two versions."""

    def __init__(self, root: Path, old_tree: Path) -> None:
        ports = Ports.free()
        self.bundle = HeldBundle(root)
        common = {
            "model_path": self.bundle.path,
            "lab_module": "tests.integration.plain_lab",
            "web_settings": ASKS_AT_ONCE,
        }
        self.new = Stack(root / "var", ports, **common)  # type: ignore[arg-type]
        self.old = Stack(root / "var", ports, **common, tree=old_tree)  # type: ignore[arg-type]
        # One broker and one archive, whichever programs use them.
        self.old.rabbitmq, self.old.orthanc = self.new.rabbitmq, self.new.orthanc
        self.rabbitmq = self.new.rabbitmq
        self._today = self.rabbitmq.definitions
        self.rabbitmq.definitions = old_definitions(old_tree, self.new.passwords)
        self._root = root
        self.study: StoredStudy

    def start_old(self) -> None:
        self.rabbitmq.start()
        self.new.orthanc.start()
        self.old.prepare_database()
        self.new.orthanc.wait_ready()
        self.rabbitmq.wait_ready()
        self.study = store_small_study(self.new.orthanc)
        self.start(site=self.old, lab=self.old)

    def start(self, *, site: Stack, lab: Stack | None) -> None:
        """Start the programs and wait until both work."""
        site.start_web()
        if lab is not None:
            lab.consumer.start()
            lab.wait_lab()

    def stop_programs(self) -> None:
        """Stop site and lab of either version."""
        for stack in (self.old, self.new):
            stack.consumer.stop(grace=30.0)
            stack.web.stop()

    def import_new(self) -> None:
        """The new topology beside the old one, and rights for labs of either version."""
        before_and_now = topology_before.lab_permissions(LAB, POOL)
        permissions = [
            before_and_now if one["user"] == LAB else one for one in self._today["permissions"]
        ]
        self._import("definitions.json", {**self._today, "permissions": permissions})
        self._import("upgrade.json", topology_before.upgrade())

    def confine_labs(self) -> None:
        """The lab's rights as the new version has them, and no others."""
        self._import("definitions.json", self._today)

    def _import(self, name: str, definitions: object) -> None:
        file = self._root / name
        file.write_text(json.dumps(definitions), "utf-8")
        self.rabbitmq.ctl("import_definitions", str(file))

    def step_back(self) -> None:
        """The database as the old site knows it, by the new programs."""
        # One of those that an old site cannot know: it was never heard.
        added = ("lab", "add", "unheard", "--pool", POOL, "--registered-only")
        back = (("migrate", "labrelay_inference", "0007"), ("migrate", "labrelay_labs", "0002"))
        for arguments in (added, *back):
            done = self.new.command("web.cli", *arguments)
            require(done.returncode == 0, f"{arguments}: {done.stderr[-500:]}")

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        with Reader(self.new.url, PAGE_USER, self.new.page_password) as reader:
            yield reader

    def click(self) -> str:
        series = {item.role: item.series_id for item in self.study.inputs}
        with self.reader() as reader:
            request_id: str = reader.ask(self.study.study_id, series)["request_id"]
        return request_id

    def outcome(self, request_id: str) -> str:
        with self.reader() as reader:
            state: str = reader.wait(request_id, ended, CLICK_SECONDS)["state"]
        return state

    def completes(self, what: str) -> None:
        state = self.outcome(self.click())
        require(state == "completed", f"{what}: the click ended {state}")
        say(f"{what}: a click completes")

    def cancels(self, what: str) -> None:
        self.bundle.hold()
        request_id = self.click()
        with self.reader() as reader:
            reader.wait(request_id, lambda row: row["state"] == "inferring", CLICK_SECONDS)
            reader.post(f"/api/v1/requests/{request_id}/cancel", None)
        state = self.outcome(request_id)
        self.bundle.release()
        require(state == "cancelled", f"{what}: the cancel ended {state}")
        say(f"{what}: a cancel reaches the lab")

    def messages(self, queue: str) -> int:
        rows = self.rabbitmq.ctl("-q", "-p", topology.VHOST, "list_queues", "name", "messages")
        counts = dict(row.split("\t") for row in rows.splitlines() if "\t" in row)
        return int(counts.get(queue, 0))

    def retire(self) -> subprocess.CompletedProcess[str]:
        """Run the command of the new site with the administrator's address."""
        url = self._root / "admin-url"
        url.write_text(self.rabbitmq.url("admin", self.new.passwords["admin"]), "utf-8")
        return self.new.command("web.cli", "retire_topology", str(url))


def trial(at: Trial) -> None:
    """The steps; raises `AssertionError` with what did not hold."""
    at.start_old()
    at.completes("old site, old lab")

    # Left behind: an outcome that no site has read, and a click that no lab has taken.
    at.bundle.hold()
    unread = at.click()
    with at.reader() as reader:
        reader.wait(unread, lambda row: row["state"] == "inferring", CLICK_SECONDS)
    at.old.web.stop()
    at.bundle.release()
    wait_until(
        lambda: at.messages(topology_before.REPLIES_QUEUE) > 0, "leave an outcome behind", 60.0
    )
    at.old.consumer.stop(grace=30.0)
    at.start(site=at.old, lab=None)
    untaken = at.click()
    wait_until(lambda: at.messages(topology.requests_queue(POOL)) == 1, "be published", 60.0)
    at.old.web.stop()

    at.import_new()
    at.new.prepare_database()
    at.new.register_labs()
    at.start(site=at.new, lab=at.old)
    for request_id, what in ((unread, "unread outcome"), (untaken, "untaken click")):
        state = at.outcome(request_id)
        require(state == "completed", f"the {what} of before ended {state}")
        say(f"new site: the {what} of before is not lost")
    at.completes("new site, old lab")
    at.cancels("new site, old lab")

    at.stop_programs()
    at.step_back()
    at.start(site=at.old, lab=at.new)
    at.completes("old site, new lab")
    at.cancels("old site, new lab")

    at.stop_programs()
    at.new.prepare_database()
    at.new.register_labs()
    at.confine_labs()
    at.start(site=at.new, lab=at.new)
    at.completes("new site, new lab")
    at.cancels("new site, new lab")
    wait_until(
        lambda: not any(map(at.messages, topology_before.queue_names())), "work off the rest", 60.0
    )
    refused = at.retire()
    require(refused.returncode != 0, "retire_topology went on beside a site that listens")
    at.new.web.stop()
    done = at.retire()
    require(done.returncode == 0, f"retire_topology failed: {done.stderr[-500:]}")
    say(f"retired: {len(done.stdout.splitlines())} exchanges and queues of before")
    at.start(site=at.new, lab=None)
    at.completes("new site, new lab, nothing of before")
    at.cancels("new site, new lab, nothing of before")


def old_definitions(tree: Path, passwords: dict[str, str]) -> dict[str, object]:
    """What the version before imports into a broker, as its own code says it."""
    done = subprocess.run(
        (
            sys.executable,
            "-c",
            (
                "import json, sys; from messages import topology\n"
                "print(json.dumps(topology.with_users(json.load(sys.stdin))))"
            ),
        ),
        input=json.dumps(passwords),
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def old_programs(into: Path) -> Path | None:
    """The tree of the version before; None where the history does not hold it."""
    done = subprocess.run(
        ("git", "-C", str(REPOSITORY), "archive", BEFORE), capture_output=True, check=False
    )
    if done.returncode:
        return None
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(into, filter="data")
    return into


def require(held: bool, otherwise: str) -> None:
    """Raise `AssertionError` with the sentence."""
    if not held:
        raise AssertionError(otherwise)


def say(text: str) -> None:
    print(f"[upgrade] {text}", flush=True)


def main() -> int:
    """Exit status 0 when every step held, 2 where it cannot be tried."""
    with tempfile.TemporaryDirectory(prefix="labrelay-upgrade-") as directory:
        root = Path(directory)
        tree = old_programs(root / "before")
        if tree is None:
            say(f"this checkout has no commit {BEFORE}: fetch the whole history to try an upgrade")
            return 2
        at = Trial(root, tree)
        try:
            trial(at)
        except (AssertionError, ServiceFailed, TimeoutError) as error:
            say(f"FAILED: {error}")
            return 1
        finally:
            at.stop_programs()
            at.new.orthanc.stop()
            at.rabbitmq.stop()
    say("every step held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
