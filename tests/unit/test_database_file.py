"""Whether a SQLite file is still the one that was opened, whatever others do with it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from web import database_file
from web.database import DatabaseAway, DatabaseThread
from web.database_file import DatabaseFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a directory" / "web.sqlite3"
    path.parent.mkdir()
    made(path)
    return path


@pytest.fixture
def file(path: Path) -> Iterator[DatabaseFile]:
    with closing(DatabaseFile(path)) as file:
        yield file


def made(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE IF NOT EXISTS a (b)")
        database.commit()


def test_what_others_do_through_sqlite_is_no_replacement(path: Path, file: DatabaseFile) -> None:
    for _ in range(3):
        with closing(sqlite3.connect(path)) as database:
            database.execute("INSERT INTO a VALUES (1)")
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
        # The last of the others is closed: SQLite would take the journal away.
        assert file.why_gone() is None


def test_the_next_file_at_the_path_is_another_one_also_by_a_number_that_was_free(
    path: Path, file: DatabaseFile
) -> None:
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink()
    # A file system gives a free number to the next file: here it is not free.
    made(path)
    assert file.why_gone() == f"{path} was replaced by another file"


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
def test_each_file_that_is_removed_is_named(path: Path, file: DatabaseFile, ending: str) -> None:
    Path(f"{path}{ending}").unlink()
    assert file.why_gone() == f"{path}{ending} was removed"


def test_a_directory_that_became_something_else_holds_no_database(
    path: Path, file: DatabaseFile
) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.write_text("a file", "utf-8")
    assert file.why_gone() == f"{path} was removed"


def test_a_link_that_leads_to_another_file_is_a_replacement(path: Path) -> None:
    other, link = path.with_name("other.sqlite3"), path.with_name("current.sqlite3")
    made(other)
    link.symlink_to(path)
    with closing(DatabaseFile(link)) as file:
        assert file.why_gone() is None
        link.unlink()
        link.symlink_to(other)
        assert file.why_gone() == f"{link} was replaced by another file"


def test_to_look_takes_no_lock_of_sqlite_away(path: Path) -> None:
    # Closing an ordinary descriptor of the file would, for the whole process.
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        DatabaseFile(path).close()
        assert not another_may_write(path)
        writer.execute("ROLLBACK")
        assert another_may_write(path)


def another_may_write(path: Path) -> bool:
    code = (
        "import sqlite3, sys; database = sqlite3.connect(sys.argv[1], timeout=0); "
        "database.execute('BEGIN IMMEDIATE')"
    )
    command = (sys.executable, "-c", code, str(path))
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.asyncio
async def test_what_a_task_wrote_into_a_file_that_is_gone_is_not_settled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DatabaseFile(path)
    monkeypatch.setattr(database_file._Kept, "file", file)
    thread = DatabaseThread("test")
    try:
        assert await thread.run(done) == "done"
        await asyncio.to_thread(path.unlink)
        # As when the database is away: a delivery stays unacknowledged.
        with pytest.raises(DatabaseAway):
            await thread.run(done)
    finally:
        await thread.close()
        file.close()


def done() -> Any:
    return "done"
