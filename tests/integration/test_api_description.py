"""The API keeps to its description whatever is sent: generated calls, on a real archive.

Most of the well-formed calls name what exists, so that not every answer is 404.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
import schemathesis
from django.contrib.auth.models import Permission
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from infra.local.orthanc import OrthancNode
from messages.events import InferenceFailed
from messages.failures import FailureCode
from messages.phases import DCE_ROLES
from tests import report_tree as tree
from tests.integration.test_web_api import body, store
from tests.integration.web_requests import a_run, place, take_in
from tests.site import reader_of, use_archive
from web.access import limits
from web.access.tokens import issue
from web.inference.models import InferenceRequest
from web.inference.submit import submit
from web.phases.chosen import Selection

pytestmark = pytest.mark.django_db(transaction=True)

#: Generated calls for each operation and kind.
EXAMPLES = 20

#: Of a lesion, as the report of the known result states it.
CURVE = (
    tree.point("pre", 200, 0),
    tree.point("post1", 400, 90),
    tree.figure(tree.WASH_IN, 100),
    tree.code(tree.PATTERN, ("130598", "DCM")),
)

SCHEMA = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
OPERATIONS = {
    found.ok().definition.raw["operationId"]: found.ok() for found in SCHEMA.get_all_operations()
}

load_all_checks()
#: A well-formed wish can be refused for what it says (422), so `positive_data_acceptance` is out;
#: so is what follows a resource through its deletion, which the API does not have.
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    ]
)


@dataclass(frozen=True)
class Known:
    """What exists."""

    study_id: str
    series: list[str]
    request_ids: list[UUID]
    headers: dict[str, str]

    def put_into(self, case: Case, request: int) -> None:
        """Let the call name it: that request, of those that there are."""
        if "study_id" in case.path_parameters:
            case.path_parameters["study_id"] = self.study_id
        if "request_id" in case.path_parameters:
            case.path_parameters["request_id"] = str(self.request_ids[request])
        # A generated cursor leads nowhere.
        case.query.pop("cursor", None)
        if "phase" in case.query:
            case.query |= {"phase": list(self.series)}
            case.query.pop("model", None)
        if isinstance(case.body, dict):
            case.body |= body(self.study_id, self.series) | {"model": None, "threshold": 0.5}


@pytest.fixture(scope="module")
def stored(orthanc: OrthancNode) -> tuple[str, list[str]]:
    return store(orthanc, len(DCE_ROLES))


@pytest.fixture
def known(orthanc: OrthancNode, stored: tuple[str, list[str]], settings: Any) -> Known:
    use_archive(settings, orthanc)
    limits.reset()
    study_id, series = stored
    reader = reader_of()
    # Some calls are for staff alone.
    reader.is_staff = True
    reader.save()
    reader.user_permissions.add(Permission.objects.get(codename="change_inferencerequest"))
    inputs = list(map(Selection, DCE_ROLES, series))
    # One that will have a result, one under way, and one that fails.
    rows = [
        submit(study_id=study_id, inputs=inputs, user=reader, threshold=threshold)
        for threshold in (0.2, 0.3, 0.4)
    ]
    fault = InferenceFailed(
        **place(rows[2].pk, 1), code=FailureCode.TOO_LARGE, detail="x", stage_seconds={}
    )
    with transaction.atomic():
        for event in (*a_run(rows[0].pk), fault):
            take_in(event)
    assert InferenceRequest.objects.get(pk=rows[0].pk).result
    report = tree.report(
        tree.group(tree.code(tree.NEOPLASM, tree.PRESENT)), tree.lesion("lesion 1", *CURVE)
    )
    httpx.post(
        f"{orthanc.url}/instances",
        content=tree.file_of(report, rows[0].pk, rows[0].study_uid),
        auth=(orthanc.user, orthanc.password),
    ).raise_for_status()
    headers = {"Authorization": f"Bearer {issue(reader, 'generated calls')}"}
    return Known(study_id, series, [row.pk for row in rows], headers)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("name", OPERATIONS)
def test_generated_calls_are_answered_as_described(
    name: str, mode: GenerationMode, known: Known
) -> None:
    answered: set[int] = set()

    @bounds(
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=OPERATIONS[name].as_strategy(generation_mode=mode),
        real=st.sampled_from([None, 0, 1, 2]),
    )
    def check(case: Case, real: int | None) -> None:
        if real is not None and mode is GenerationMode.POSITIVE:
            known.put_into(case, real)
        response = case.call(headers=known.headers)
        answered.add(response.status_code)
        case.validate_response(response, checks=CHECKED, headers=known.headers)

    check()
    if mode is GenerationMode.POSITIVE:
        # Calls that all name what is not there would show nothing.
        assert min(answered) < 300
