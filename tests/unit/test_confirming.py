"""A report is looked for three times within a minute, whatever is told meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from tests.integration.web_requests import a_run
from tests.unit.test_reconcile_rules import row
from web.inference.confirming.look import look_for
from web.inference.confirming.owed import Owed, postpone
from web.inference.record import record_event
from web.inference.states import State

pytestmark = pytest.mark.django_db


class Endless(BaseHTTPRequestHandler):
    """An archive each of whose answers is larger than any that can be used."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(2**40))
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the name that the base class looks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(settings, "SITE", settings.SITE.model_copy(update={"orthanc_url": url}))
        yield
        server.shutdown()
        thread.join(10)


def test_further_reports_draw_no_look_forward_and_forget_no_answer() -> None:
    due = timezone.now() + timedelta(seconds=20)
    one = row(State.REPORTED, confirm_due_at=due, confirm_misses=1)
    for _ in range(3):
        with transaction.atomic():
            record_event(a_run(one.pk)[-1])
    one.refresh_from_db()
    assert (one.confirm_due_at, one.confirm_misses) == (due, 1)


def test_a_failure_of_the_archive_in_between_forgets_no_answer() -> None:
    now = timezone.now()
    one = row(State.REPORTED, confirm_due_at=now, confirm_misses=2)
    postpone(Owed(one.pk, now), 5)
    one.refresh_from_db()
    assert one.confirm_misses == 2
    assert one.confirm_due_at is not None
    assert one.confirm_due_at > now


@pytest.mark.usefixtures("endless")
def test_an_answer_of_the_archive_that_cannot_be_used_is_one_without_the_result() -> None:
    found = look_for(row(State.REPORTED))
    assert found.figures is None
    assert "more bytes" in found.detail
