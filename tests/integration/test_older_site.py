"""Between a migration and the restart, the released site goes on writing into the new tables."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import connection

from web.inference.models import DeadLetter, InferenceRequest, Outbox
from web.labs.models import Lab

NOW = datetime.now(UTC).isoformat()
REQUEST = uuid4().hex

#: The columns that the release at commit cb32cf9 names when it writes a row, and a value for each.
RELEASED = {
    "labrelay_inference_inferencerequest": {
        "id": REQUEST,
        "version": 1,
        "pool": "lab",
        "model": "held",
        "study_id": "-".join(["0123abcd"] * 5),
        "study_uid": "2.25.1",
        "inputs": "[]",
        "threshold": None,
        "deadline_s": 3600,
        "requested_by_id": None,
        "retry_of_id": None,
        "created_at": NOW,
        "state": "queued",
        "attempt": 1,
        "delivery": 0,
        "sequence": -1,
        "published_at": None,
        "accepted_at": None,
        "finished_at": None,
        "next_try_at": None,
        "progress": None,
        "failure_code": "",
        "failure_detail": "",
        "result": None,
        "lab": "",
    },
    "labrelay_inference_outbox": {
        "request_id": REQUEST,
        "message_id": uuid4().hex,
        "exchange": "mri.requests",
        "routing_key": "lab.held",
        "type": "inference.requested.v1",
        "body": b"{}",
        "headers": "{}",
        "created_at": NOW,
        "leased_until": None,
        "lease": None,
        "sent_at": None,
    },
    "labrelay_inference_deadletter": {
        "received_at": NOW,
        "queue": "mri.requests.lab",
        "reason": "rejected",
        "type": "",
        "message_id": "",
        "correlation_id": "",
        "routing_key": "",
        "size": 2,
        "body": b"{}",
        "request_id": None,
    },
    "labrelay_labs_lab": {
        "name": "lab1",
        "pool": "lab",
        "device": "cpu",
        "models": "[]",
        "current": "[]",
        "last_seen": NOW,
    },
}


@pytest.mark.django_db
def test_a_row_without_the_new_columns_is_taken_and_reads_as_one_of_today() -> None:
    with connection.cursor() as cursor:
        for table, values in RELEASED.items():
            columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
            cursor.execute(
                f"INSERT INTO {table} ({columns}) VALUES ({places})",  # noqa: S608 - ours
                list(values.values()),
            )
    request = InferenceRequest.objects.get()
    assert (request.wish, request.sweep_due_at, request.cancel_asked_at) == ("", None, None)
    assert request.changed_at is not None
    assert not Outbox.objects.get().attempted
    assert DeadLetter.objects.get().settled_as == ""
    assert Lab.objects.get().condition == "serving"
    # Known by its heartbeat alone: nobody has confirmed it.
    assert Lab.objects.get().confirmed_at is None
    assert DeadLetter.objects.get().user_id == ""
