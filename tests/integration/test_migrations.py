"""A site that goes back to an older version, and forth again, keeps the requests it has stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from web.inference.models import DeadLetter, InferenceRequest, LettersBeyond, RequestEvent
from web.labs import registry
from web.labs.models import Lab, ServedModel
from web.reconciler import lost
from web.reconciler.pace import Pace

pytestmark = pytest.mark.django_db(transaction=True)

APP = "labrelay_inference"

#: Before requests were held back, and results compared and withdrawn.
BEFORE = (APP, "0005_verdicts")

#: Before labs were strangers: every lab was heard, and no request was reported.
TRUSTING = ((APP, "0007_result_state"), (LABS := "labrelay_labs", "0002_condition"))


def migrate(*targets: tuple[str, str]) -> MigrationExecutor:
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets))
    return MigrationExecutor(connection)


@pytest.fixture
def newest() -> Iterator[tuple[tuple[str, str], ...]]:
    """What the other tests need in the end, whatever becomes of this one."""
    leaves = tuple(MigrationExecutor(connection).loader.graph.leaf_nodes())
    yield leaves
    migrate(*leaves)


def test_a_request_survives_the_way_back_to_an_older_version_and_forth(
    newest: tuple[tuple[str, str], ...],
) -> None:
    values = {"pool": "lab", "model": "m", "study_id": "s", "study_uid": "1.2", "deadline_s": 60}
    withdrawn = InferenceRequest.objects.create(
        id=uuid4(),
        state="completed",
        result={"sr_instance_id": "x"},
        result_state="withdrawn",
        input_state="same",
        withdrawn_at=timezone.now(),
        withdrawn_reason="why",
        inputs=[],
        **values,
    )
    older = migrate(BEFORE).loader.project_state([BEFORE]).apps.get_model(APP, "InferenceRequest")
    assert older.objects.get(pk=withdrawn.pk).result == {"sr_instance_id": "x"}
    # What the older version writes meanwhile knows nothing of the columns to come.
    written = older.objects.create(id=uuid4(), state="queued", inputs=[], **values)
    migrate(*newest)
    again = InferenceRequest.objects.get(pk=withdrawn.pk)
    assert (again.result, again.state) == ({"sr_instance_id": "x"}, "completed")
    # What only the newer version knew went with its columns: it is looked at anew.
    for row in (again, InferenceRequest.objects.get(pk=written.pk)):
        assert (row.input_state, row.result_state, row.held_for) == ("unknown", "stored", "")
        assert (row.compared_at, row.withdrawn_at, row.withdrawn_reason) == (None, None, "")


def test_what_is_reported_is_looked_for_by_an_older_version_and_labs_it_never_heard_are_forgotten(
    newest: tuple[tuple[str, str], ...],
) -> None:
    now = timezone.now()
    reported = InferenceRequest.objects.create(
        state="reported",
        version=5,
        wish="w" * 64,
        changed_at=now - timedelta(hours=1),
        accepted_at=now - timedelta(hours=1),
        confirm_due_at=now,
        confirm_misses=2,
        reported_seconds={"inferring": 2.5},
        pool="lab",
        model="m",
        study_id="s",
        study_uid="1.2",
        deadline_s=60,
        inputs=[],
    )
    for version, state in ((4, "uploading"), (5, "reported")):
        RequestEvent.objects.create(
            request=reported, version=version, state=state, at=now, attempt=1, delivery=0
        )
    DeadLetter.objects.create(user_id="lab1", size=0, settled_at=now, settled_as="applied")
    LettersBeyond.objects.create(sender="lab1", count=7, last_at=now)
    for name in ("heard", "unheard"):
        registry.confirm(name, "lab")
    Lab.objects.filter(name="heard").update(last_seen=now)
    for lab in Lab.objects.all():
        ServedModel.objects.create(lab=lab, fingerprint="f", described={})

    older = migrate(*TRUSTING).loader.project_state(list(TRUSTING)).apps.get_model
    row = older(APP, "InferenceRequest").objects.get(pk=reported.pk)
    # As one that is being stored and nothing is told of: an older site asks the archive for it.
    assert (row.state, row.version) == ("uploading", 6)
    states = older(APP, "RequestEvent").objects.order_by("version").values_list("state", flat=True)
    assert list(states) == ["uploading", "uploading"]
    assert [one.name for one in older(LABS, "Lab").objects.all()] == ["heard"]
    assert older(APP, "DeadLetter").objects.count() == 1

    migrate(*newest)
    again = InferenceRequest.objects.get(pk=reported.pk)
    assert (again.state, again.confirm_due_at) == ("uploading", None)
    assert [one.request_id for one in lost.missing(Pace(), {"lab": None})] == [reported.pk]
    assert [(one.name, one.confirmed_at) for one in Lab.objects.all()] == [("heard", None)]
