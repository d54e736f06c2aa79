"""The database of a site of commit 08862a1, which this version's migrations take over."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from infra.local.settings import REPOSITORY, child_environment

#: Written by that version itself; its first lines say how.
DUMP = REPOSITORY / "tests" / "older_results" / "database-08862a1.sql"

#: Rows of each table in the dump. The look at the staff's pages adds to the audit trail.
ROWS = {
    "labrelay_door.StudyGrant": 2,
    "labrelay_door.ApiToken": 1,
    "labrelay_labs.Lab": 1,
    "labrelay_inference.InferenceRequest": 14,
    "labrelay_inference.RequestEvent": 64,
    "labrelay_inference.Outbox": 16,
    "labrelay_inference.IdempotencyKey": 1,
    "labrelay_inference.SeenEvent": 34,
    "labrelay_inference.DeadLetter": 2,
    "labrelay_inference.Verdict": 2,
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What today's site answers once it has migrated the older database."""
    folder = tmp_path_factory.mktemp("older")
    with closing(sqlite3.connect(folder / "web.sqlite3")) as database:
        database.executescript(DUMP.read_text("utf-8"))
    environment = child_environment({"VAR_DIR": str(folder), "SECRET_KEY": "s" * 40})
    _run(environment, "web.cli", "migrate")
    given: dict[str, Any] = json.loads(_run(environment, "tests.integration.older_site"))
    return given


def _run(environment: dict[str, str], *module: str) -> str:
    done = subprocess.run(
        (sys.executable, "-m", *module),
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The site's own log lines go to standard error.
    return done.stdout


def test_no_row_of_an_older_site_is_lost(answers: dict[str, Any]) -> None:
    assert {table: answers["rows"][table] for table in ROWS} == ROWS
    assert answers["rows"]["labrelay_door.AuditEntry"] >= 14


def test_requests_of_an_older_site_keep_state_result_failure_and_verdict(
    answers: dict[str, Any],
) -> None:
    requests = answers["requests"]["requests"]
    assert Counter(one["state"] for one in requests) == Counter(
        [
            "queued",
            "published",
            "published",
            "accepted",
            "downloading",
            "inferring",
            "uploading",
            "waiting",
            "cancelling",
            "cancelled",
            "failed",
            "dead",
            "completed",
            "completed",
        ]
    )
    (found,) = (one for one in requests if one["result"] and one["result"]["tumor_detected"])
    assert (found["result"]["volume_ml"], found["verdict"]) == (1.5, "rejected")
    (failed,) = (one for one in requests if one["state"] == "failed")
    assert (failed["failure"]["code"], failed["failure"]["detail"]) == (
        "geometry_mismatch",
        "two grids",
    )
    (again,) = (one for one in requests if one["retry_of"])
    assert again["retry_of"] == failed["request_id"]
    # What only a later version knows is not made up.
    assert {(one["input_state"], one["result_state"]) for one in requests} == {
        ("unknown", "stored")
    }


def test_a_lab_that_an_older_site_trusted_waits_for_its_staff(answers: dict[str, Any]) -> None:
    assert answers["labs"] == {"labs": []}
    assert answers["rows"]["labrelay_labs.Lab"] == 1


def test_the_staffs_pages_show_the_rows_of_an_older_site(answers: dict[str, Any]) -> None:
    assert set(answers["pages"].values()) == {200}


def test_a_request_of_an_older_site_goes_on(answers: dict[str, Any]) -> None:
    assert answers["goes_on"] == "reported"
