"""A real lab, a real broker and a real archive that holds what no lab can read."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

from pydicom import dcmread

from infra.local.orthanc import OrthancNode
from messages.events import InferenceAccepted, InferenceFailed
from messages.phases import DCE_ROLES
from messages.request import InferenceRequested, InputSeries, PhaseSelector
from tests.bad_inputs.study import PLANTED, BadInput, Phase, Study, series, uid
from tests.bad_inputs.table import TABLE
from tests.integration.lab import (
    ONE_RESULT,
    Clinic,
    assert_acknowledged,
    completed,
    orthanc_post,
    running_lab,
    store_small_study,
    stored_objects,
)

#: Rows of the table, two or three of each kind, that an Orthanc takes as they are.
CHOSEN = (
    "no FrameOfReferenceUID",
    "no PixelData",
    "65535 rows and columns",
    "a million frames",
    "three samples",
    "a slice left out",
    "noise called RLE",
    "noise called JPEG-LS",
    "noise called JPEG 2000",
    "65535 rows and columns in MR_small_RLE.dcm",
    "a segmentation of ours",
    "a report of a vendor",
    "a real CT",
    "an instance fewer than asked for",
    "no slice of the phase that was asked for",
    "a phase elsewhere",
    "a phase in another frame of reference",
    "phases against their order",
    "RescaleSlope zero",
)


def stored_request(archive: OrthancNode, study: Study) -> InferenceRequested:
    """Store the study with good phases in the roles that it lacks, and ask for it."""
    inputs = []
    for phase in (*study.phases, *good_phases(study)):
        answers = [orthanc_post(archive, "/instances", data) for data in phase.files]
        assert {answer["Status"] for answer in answers} <= {"Success", "AlreadyStored"}
        selector = phase.selector
        inputs.append(
            InputSeries(
                role=DCE_ROLES[len(inputs)],
                series_id=answers[0]["ParentSeries"],
                series_uid=phase.series_uid,
                instance_count=len(phase.files) if phase.asked is None else phase.asked,
                phase_selector=selector and PhaseSelector(keyword=selector[0], value=selector[1]),
            )
        )
    return InferenceRequested(
        request_id=uuid4(),
        attempt=1,
        pool="lab",
        model="held",
        study_uid=study.study_uid,
        inputs=tuple(inputs),
        deadline_s=3600,
    )


def good_phases(study: Study) -> list[Phase]:
    """Phases behind those of the study, where one can be: on the grid of good ones."""
    first = dcmread(BytesIO(study.phases[0].files[0]), force=True)
    good = []
    for number in range(len(study.phases), len(DCE_ROLES)):
        made = series(
            study_uid=study.study_uid,
            frame_uid=first.get("FrameOfReferenceUID") or uid(),
            time=f"11{number}000",
        )
        good.append(Phase(DCE_ROLES[number], made.series_uid, tuple(made.files())))
    return good


def chosen() -> list[BadInput]:
    rows = {row.name: row for row in TABLE}
    return [rows[name] for name in CHOSEN]


def test_each_bad_input_fails_once_with_its_code_and_a_good_one_completes_afterwards(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode
) -> None:
    expected: dict[UUID, BadInput] = {}
    good = store_small_study(orthanc)
    with running_lab(**arguments) as lab:
        for row in chosen():
            request = stored_request(orthanc, row.study())
            expected[request.request_id] = row
            clinic.ask(request)
        clinic.ask(good.request())
        replies = clinic.replies(lambda taken: bool(completed(taken)), timeout=240.0)
        log = lab.log.read_text(encoding="utf-8")
    assert_acknowledged(clinic)
    failed = {m.request_id: m for m in replies if isinstance(m, InferenceFailed)}
    assert {expected[key].name: failed[key].code for key in failed} == {
        row.name: row.code for row in expected.values()
    }
    # Each once, and no worker was lost on the way: a redelivery would be accepted again.
    accepted = [m.delivery for m in replies if isinstance(m, InferenceAccepted)]
    assert accepted == [0] * (len(CHOSEN) + 1)
    said = log + "".join(m.detail for m in failed.values())
    assert not [value for value in PLANTED if value in said]
    assert "Traceback" not in log
    assert stored_objects(orthanc, good) == ONE_RESULT


def test_a_series_of_too_many_instances_is_refused(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode
) -> None:
    study = store_small_study(orthanc)
    with running_lab(**arguments, max_series_instances=5):
        clinic.ask(study.request())
        replies = clinic.replies(lambda taken: any(isinstance(m, InferenceFailed) for m in taken))
    (failure,) = [m for m in replies if isinstance(m, InferenceFailed)]
    assert failure.code == "too_large"
