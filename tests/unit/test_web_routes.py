"""What somebody types into an address does not reach the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from web.routes import RouteOnly


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/studies/Kim-Minseo/", "Method Not Allowed (POST): studies/<str:study_id>/"),
        ("/Kim-Minseo", "Not Found: (no such address)"),
    ],
)
@pytest.mark.django_db
def test_a_line_of_django_names_the_pattern_of_the_address(
    client: Any, caplog: pytest.LogCaptureFixture, path: str, line: str
) -> None:
    route_only = RouteOnly()
    caplog.handler.addFilter(route_only)
    client.post(path)
    caplog.handler.removeFilter(route_only)
    lines = [record.getMessage() for record in caplog.records]
    assert line in lines
    assert not any("Kim" in text for text in lines)


def test_a_line_without_a_call_stays_as_it_is() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "%s of %s", ("one", "two"), None)
    assert RouteOnly().filter(record)
    assert record.getMessage() == "one of two"
