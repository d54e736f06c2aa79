"""A log line of an exception: its type and lines, and never its text."""

from __future__ import annotations

import json

from web.logs import where_it_failed


def fail(text: str) -> None:
    raise ValueError(text)


def test_a_group_is_unfolded_to_the_faults_in_it_and_quotes_none() -> None:
    try:
        try:
            fail("Kim^Minseo")
        except ValueError as exc:
            raise ExceptionGroup("Kim", [ExceptionGroup("Kim", [exc])]) from None
    except ExceptionGroup as group:
        line = where_it_failed(None, "error", {"event": "x", "exc_info": group})

    (inner,) = line["errors"]
    (fault,) = inner["errors"]
    assert (line["error"], fault["error"]) == ("ExceptionGroup", "ValueError")
    assert fault["at"][-1].endswith(" fail")
    assert "Kim" not in json.dumps(line)
