"""A site that goes back to an older version, and forth again, keeps the requests it has stored."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from web.inference.models import InferenceRequest

pytestmark = pytest.mark.django_db(transaction=True)

APP = "labrelay_inference"

#: Before requests were held back, and results compared and withdrawn.
BEFORE = (APP, "0005_verdicts")


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
