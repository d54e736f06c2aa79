"""``mri-web dead_letters``: what an operator reads and does in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import translation

from infra.local.settings import REPOSITORY, child_environment
from tests.integration.letters import dead_request, letter_of, stored_letter
from tests.integration.web_requests import a_run, write_request
from web.inference.models import DeadLetter, InferenceRequest
from web.inference.states import State

pytestmark = pytest.mark.django_db(transaction=True)

#: A terminal obeys it: it would set the window's title.
ESCAPE = "\x1b]0;owned\x07"


def said(*arguments: object) -> str:
    out = StringIO()
    call_command("dead_letters", *map(str, arguments), stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_list_names_open_letters_and_their_requests_the_newest_first() -> None:
    row, letter = dead_request()
    garbage = stored_letter()
    lines = said("list").splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(garbage.pk), str(letter.pk)]
    assert lines[0].endswith("\tgarbage\trejected in mri.replies.lab\tno request\topen")
    assert f"request {row.pk}" in lines[1]

    said("discard", garbage.pk)
    assert [line.split("\t")[0] for line in said("list").splitlines()] == [str(letter.pk)]
    everything = said("list", "--all").splitlines()
    assert everything[0].endswith("discarded")
    assert len(everything) == 2
    assert len(said("list", "--all", "--limit", 1).splitlines()) == 1


def test_the_list_and_a_letter_can_be_read_by_programs() -> None:
    row, letter = dead_request()
    (listed,) = json.loads(said("list", "--json"))
    assert (listed["id"], listed["request_id"]) == (letter.pk, str(row.pk))
    assert listed["settled_at"] is None
    shown = json.loads(said("show", letter.pk, "--json"))
    assert shown["message"]["request_id"] == str(row.pk)
    assert {name: shown[name] for name in listed} == listed


def test_a_letter_is_shown_with_its_message() -> None:
    row = write_request()
    shown = said("show", letter_of(a_run(row.pk)[-1]).pk)
    assert "type: inference.completed.v1\n" in shown
    assert '"volume_ml": 1.2' in shown


def test_a_strangers_bytes_do_not_reach_the_terminal() -> None:
    texts = {"type": ESCAPE, "message_id": ESCAPE, "routing_key": "\x9b31m", "reason": "\n7: ok"}
    garbage = stored_letter(body=b"\x1b[2J secret", **texts)
    # A field's name is the sender's word as well.
    named = stored_letter(
        type="inference.completed.v1",
        body=json.dumps({"stage_seconds": {ESCAPE: "x"}}).encode(),
    )
    for text in (said("list"), said("show", garbage.pk), said("show", named.pk)):
        assert "secret" not in text
        assert text.replace("\n", "").replace("\t", "").isprintable()
    assert len(said("list").splitlines()) == 2
    assert "unreadable: the type is not one of ours" in said("show", garbage.pk)
    assert "size: 11" in said("show", garbage.pk)


def test_each_letter_gets_a_sentence_and_one_that_is_left_makes_the_end_1() -> None:
    row, letter = dead_request()
    garbage = stored_letter()
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError, match="left as they are: 2 of 3") as ended:
        call_command(
            "dead_letters",
            "replay",
            *map(str, (garbage.pk, letter.pk, 10**30, letter.pk)),
            stdout=out,
            stderr=err,
        )
    assert ended.value.returncode == 1
    assert out.getvalue() == f"{letter.pk}: Request {row.pk} goes out again, as attempt 2.\n"
    assert err.getvalue().splitlines() == [
        f"{garbage.pk}: This letter cannot be read; it can only be discarded.",
        f"{10**30}: There is no such dead letter.",
    ]
    assert InferenceRequest.objects.get(pk=row.pk).state == State.QUEUED


def test_a_letter_that_is_not_there_cannot_be_shown() -> None:
    for number in (7, 10**30):
        with pytest.raises(CommandError, match="no dead letter of that number"):
            said("show", number)
    with pytest.raises(CommandError, match="--limit"):
        said("list", "--limit", 0)


def test_the_command_speaks_english_whatever_the_site_speaks() -> None:
    letter = stored_letter()
    with translation.override("ko"):
        assert said("discard", letter.pk) == f"{letter.pk}: Discarded.\n"


def test_the_site_s_own_command_replays_a_letter_in_its_own_process(tmp_path: Path) -> None:
    row, letter = dead_request()
    environment = child_environment(
        {
            "VAR_DIR": str(tmp_path),
            "SECRET_KEY": "s" * 50,
            "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
        }
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "web.cli", "dead_letters", *arguments),
            env=environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    done = run("replay", str(letter.pk))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        f"{letter.pk}: Request {row.pk} goes out again, as attempt 2.",
    )
    again = run("replay", str(letter.pk))
    assert again.returncode == 1
    assert "has been dealt with already" in again.stderr
    assert run("replay").returncode == 2
    assert DeadLetter.objects.get().settled_as == "replayed"


def test_a_database_without_tables_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "web.cli", "dead_letters", "list"),
        env=child_environment({"VAR_DIR": str(tmp_path)}),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "migrations are missing" in done.stderr
    assert "VAR_DIR" in done.stderr
