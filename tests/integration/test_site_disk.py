"""The served site without its disk: full, or with another database file at the path."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.demo.reader import Reader
from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from tests.faults.small_disk import SmallDisk
from tests.integration.lab import StoredStudy, store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.served import PASSWORD, ServedSite, served_site
from web.database_file import GONE

#: Bytes of the disk that fills up: the database takes less than one of these.
SMALL = 16 * 1024 * 1024

PATIENCE = 60.0

SENTENCE = "데이터베이스가 응답하지 않습니다. 다시 시도해 주세요."


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


# ---- a file that is not the one any more


def removed(file: Path) -> None:
    file.unlink()


def restored(file: Path) -> None:
    """As a backup is put back that was copied: whole, and with the rows of then."""
    backup = file.with_name("backup.sqlite3")
    with closing(sqlite3.connect(file)) as database, closing(sqlite3.connect(backup)) as copy:
        database.backup(copy)
    backup.replace(file)


def without_journal(file: Path) -> None:
    Path(f"{file}-wal").unlink()


def without_directory(file: Path) -> None:
    # As a disk goes that is mounted elsewhere; the log's file stays open.
    file.parent.rename(file.parent.with_name("elsewhere"))


@pytest.mark.parametrize("how", [removed, restored, without_journal, without_directory])
def test_a_click_into_a_database_that_is_not_there_is_never_answered_202(
    tmp_path: Path,
    rabbit: TestBroker,
    orthanc: OrthancNode,
    study: StoredStudy,
    how: Any,
) -> None:
    root = tmp_path / "var"
    root.mkdir()
    inputs = [{"role": item.role, "series_id": item.series_id} for item in study.inputs]
    with served_site(root, rabbit, orthanc) as site, site.reader() as reader:
        how(root / "web.sqlite3")
        statuses = []
        with suppress(httpx.TransportError):
            page = reader.get("/")
            assert (page.status_code, "Content-Security-Policy" in page.headers) == (503, True)
            for number in range(1, 1000):
                click = {"study_id": study.study_id, "inputs": inputs, "threshold": number / 1000}
                statuses.append(reader.post("/api/v1/requests", click).status_code)
        # Or nobody is known any more, where the session lay in a journal that went with the file.
        assert set(statuses) <= {401, 503}
        assert site.ended() == GONE
        moved = tmp_path / "elsewhere" / "site.log"
        log = moved if moved.exists() else site.service.log
        lines = [json.loads(line) for line in log.read_text("utf-8").splitlines() if "gone" in line]
        told = [line for line in lines if line["action"] == "database_file_gone"]
        assert [line["level"] for line in told] == ["critical"]
        assert "web.sqlite3" in told[0]["detail"]


def test_a_site_that_nobody_asks_notices_the_restored_backup_and_its_successor_reads_it(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode
) -> None:
    with served_site(tmp_path, rabbit, orthanc) as site:
        restored(tmp_path / "web.sqlite3")
        assert site.ended() == GONE
        site.start()
        with site.reader() as reader:
            assert reader.get("/").status_code == 200
        site.terminate()
        assert site.ended() == 0


def test_other_programs_at_the_database_are_no_reason_to_end(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode
) -> None:
    with served_site(tmp_path, rabbit, orthanc) as site, site.reader() as reader:
        # A backup, a checkpoint and a clean-up by hand, and a command.
        with closing(sqlite3.connect(tmp_path / "web.sqlite3", timeout=30)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
            with closing(sqlite3.connect(tmp_path / "copy.sqlite3")) as copy:
                database.backup(copy)
        site.shell("from django.contrib.auth.models import User; User.objects.create_user('x')")
        for _ in range(5):
            assert reader.get("/").status_code == 200
            site.shell("pass")
        assert "database_file_" not in site.log()


# ---- a full disk


@contextmanager
def on_small_disk(site: ServedSite) -> Iterator[SmallDisk]:
    """The site started with all its data on a disk of its own, in its own namespace."""
    saved = site.root.with_name("saved")
    shutil.copytree(site.root, saved)
    script = 'mount -t tmpfs -o "size=$1" none "$2" && cp -a "$3/." "$2/" && shift 3 && exec "$@"'
    command = site.service.command
    site.service.command = (
        *("unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"),
        *(str(SMALL), str(site.root), str(saved), *command),
    )
    site.start()
    try:
        inside = Path(f"/proc/{site.service.pid}/root") / site.root.relative_to("/")
        yield SmallDisk(inside / "filler")
    finally:
        site.service.stop()


def test_pages_and_log_in_say_that_the_disk_is_full_as_the_api_does_and_heal(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode, study: StoredStudy
) -> None:
    root = tmp_path / "var"
    root.mkdir()
    site = ServedSite(root, rabbit, orthanc)
    # Beside the small disk: it is the program that writes there, not the test.
    site.service.log = tmp_path / "site.log"
    site.prepare()
    with on_small_disk(site) as disk, site.reader() as reader:
        speaks = {"Accept-Language": "ko"}
        disk.fill()
        inputs = [{"role": item.role, "series_id": item.series_id} for item in study.inputs]
        click = {"study_id": study.study_id, "inputs": inputs}
        refused = reader.post("/api/v1/requests", click, headers=speaks)
        assert (refused.status_code, refused.json()["error"]["message"]) == (503, SENTENCE)
        # Its look is written down before it is answered.
        page = reader._client.get(f"/studies/{study.study_id}/", headers=speaks)
        assert (page.status_code, SENTENCE in page.text) == (503, True)
        assert "Content-Security-Policy" in page.headers
        with httpx.Client(base_url=site.url, timeout=PATIENCE, headers=speaks) as stranger:
            entered = log_in(stranger)
            assert (entered.status_code, SENTENCE in entered.text) == (503, True)
            assert "sessionid" not in stranger.cookies
            wrong = log_in(stranger, "wrong")
            assert (wrong.status_code, SENTENCE in wrong.text) == (503, True)
        disk.empty()
        wait_until(lambda: reader.get("/").status_code == 200, "heal", PATIENCE)
        assert reader.post("/api/v1/requests", click).status_code == 202
        with Reader(site.url, "demo", PASSWORD) as again:
            assert again.get("/").status_code == 200


def log_in(client: httpx.Client, password: str = PASSWORD) -> httpx.Response:
    client.get("/login/").raise_for_status()
    form = {"username": "demo", "password": password}
    return client.post("/login/", data=form | {"csrfmiddlewaretoken": client.cookies["csrftoken"]})
