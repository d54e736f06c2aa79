"""Today's rules over a stored result: whether the same would still be asked for and filed so.

Nothing is written, neither into the database nor into the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from messages.failures import FailureCode
from web.inference.compare import compared, held_of
from web.inference.model_of_request import model_of
from web.inference.models import InferenceRequest
from web.inference.presentation import phase_of
from web.inference.result_state import CHANGED, InputState, ResultState
from web.inference.states import State
from web.orthanc.archive import Orthanc
from web.orthanc.errors import InstanceNotFound
from web.phases.choice import from_archive
from web.phases.chosen import Selection
from web.refusals import NotAsked

#: Rows that are read together.
_BATCH = 100


@dataclass(frozen=True)
class Rechecked:
    """What was found of one result."""

    request_id: UUID
    study_id: str
    model: str
    #: When the result was reported.
    finished_at: datetime | None
    input_state: InputState
    result_state: ResultState
    #: Why the same choice would be refused now, or `RESULT_MISFILED`; empty where it would not.
    code: str
    #: The same as a sentence.
    sentence: str

    @property
    def is_found(self) -> bool:
        """Whether somebody should look at it."""
        gone = self.result_state is ResultState.GONE
        return bool(self.code) or gone or self.input_state in CHANGED


def all_results() -> Iterator[InferenceRequest]:
    """All results that are not withdrawn, in the order in which they were asked for."""
    rows = InferenceRequest.objects.filter(
        state=State.COMPLETED, withdrawn_at=None, result__isnull=False
    ).order_by("created_at", "pk")
    left = rows
    while batch := list(left[:_BATCH]):
        yield from batch
        at, last = batch[-1].created_at, batch[-1].pk
        left = rows.filter(Q(created_at__gt=at) | Q(created_at=at, pk__gt=last))


def recheck(row: InferenceRequest, orthanc: Orthanc) -> Rechecked:
    """Look at one result. Raises `NotNow` or `ArchiveUnavailable` when the archive is away."""
    unknown = copy(row)
    # Whatever was found before: its files are compared.
    unknown.input_fingerprint = ""
    now = compared(unknown, held_of([row], orthanc), orthanc)
    code, sentence = "", ""
    if now.input_state is not InputState.DELETED:
        # Of what is not there no rule can say anything but that.
        code, sentence = _refusal(row, orthanc)
    if not code and not _lies_in_its_study(row, orthanc):
        code, sentence = (
            FailureCode.RESULT_MISFILED.value,
            "The result does not lie in the study of its images.",
        )
    return Rechecked(
        request_id=row.pk,
        study_id=row.study_id,
        model=row.model,
        finished_at=row.finished_at,
        input_state=now.input_state,
        result_state=now.result_state,
        code=code,
        sentence=sentence,
    )


def _refusal(row: InferenceRequest, orthanc: Orthanc) -> tuple[str, str]:
    """Code and sentence with which a click on the same phases would be refused."""
    chosen = [Selection(item["role"], item["series_id"], phase_of(item)) for item in row.inputs]
    try:
        from_archive(orthanc, model_of(row), row.study_id, chosen)
    except NotAsked as exc:
        return exc.code, str(exc.message)
    return "", ""


def _lies_in_its_study(row: InferenceRequest, orthanc: Orthanc) -> bool:
    """Whether its objects do; one that is gone lies nowhere, which is said elsewhere.

    A study under another patient's number can have the same UID, and has another id. Where the
    number was edited in the archive, the objects have other ids too: then they are gone.
    """
    result = row.result or {}
    study = (row.study_id, row.study_uid)
    for instance_id in filter(None, (result.get("seg_instance_id"), result["sr_instance_id"])):
        try:
            if orthanc.filed(instance_id) != study:
                return False
        except InstanceNotFound:
            continue
    return True
