"""Lines for a person: in a terminal with a time, in the journal with a priority."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import structlog

from consumer import logs as lab_logs
from web import logs as web_logs

REQUEST = "1a2b3c4d-0000-0000-0000-000000000000"

LAB_SCRIPT = """
import logging, sys, structlog
from consumer import logs
logs.configure(sys.argv[1])
log = structlog.get_logger("lab")
with structlog.contextvars.bound_contextvars(request_id="%s", attempt=1):
    log.info("accepted", action="job.accepted", model="held")
log.warning("broker away", action="broker.away", reason="it does not answer")
try:
    raise ValueError("Kim^Minseo")
except ValueError:
    log.exception("job ended in a fault of the lab", action="job.fault")
logging.getLogger("urllib3").warning("two\\nlines")
"""


def lab_lines(form: str) -> list[str]:
    done = subprocess.run(
        (sys.executable, "-c", LAB_SCRIPT % REQUEST, form),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Kim" not in done.stderr
    return done.stderr.splitlines()


def test_a_lab_writes_sentences_with_a_priority_for_the_journal() -> None:
    accepted, away, fault, library = lab_lines("journal")
    assert accepted == f"<6>request {REQUEST} accepted model=held attempt=1"
    assert away == '<4>broker away reason="it does not answer"'
    assert fault.startswith("<3>job ended in a fault of the lab error=ValueError frames=")
    assert library == "<4>two lines"


def test_a_lab_writes_the_time_for_a_terminal() -> None:
    accepted = lab_lines("text")[0]
    time, rest = accepted.split(" ", 1)
    assert time.endswith("Z")
    assert rest == f"info     request {REQUEST} accepted model=held attempt=1"


def test_a_lab_writes_json_unless_told_otherwise() -> None:
    assert all(line.startswith("{") for line in lab_lines("json"))


@pytest.mark.parametrize("logs", [lab_logs, web_logs])
def test_a_value_with_a_space_is_quoted_and_a_list_is_one_value(logs) -> None:
    # The lab's lines have a sentence and an action, the site's an action alone.
    said = {"event": "taken"} if logs is lab_logs else {}
    event = {**said, "action": "taken", "level": "info", "queue": "a b", "ids": [1, 2]}
    assert logs.sentence(event) == 'taken queue="a b" ids="1, 2"'


def test_the_site_says_its_actions_as_words() -> None:
    form = web_logs.configuration(debug=False, form="journal")["formatters"]["line"]
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=form["processors"], foreign_pre_chain=form["foreign_pre_chain"]
    )
    record = logging.LogRecord("web", logging.WARNING, "", 0, "broker_lost", None, None)
    try:
        assert formatter.format(record) == "<4>broker lost"
    finally:
        web_logs.configuration(debug=False)
