"""A request's result as the archive holds it, told as such. Synchronous.

Nothing that a lab said of it is told: ids and figures, the model and the lab come from the objects
under the request's derived UIDs in its own study.
"""

from __future__ import annotations

import logging
import re
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone
from pydantic import TypeAdapter, ValidationError

from messages.envelope import NAME_PATTERN
from messages.events import InferenceCompleted
from messages.request import InputSeries
from web.inference.models import InferenceRequest
from web.inference.record import record
from web.inference.states import ACTIVE
from web.inference.superseded import with_superseded
from web.inference.triggers import ResultFound
from web.orthanc.archive import archive
from web.orthanc.errors import ArchiveError, NotInArchive, UnreadableResult, UnusableAnswer
from web.orthanc.time_budget import within
from web.results.stored_result import Asked, StoredResult, stored_result

log = structlog.get_logger(__name__)

#: In the place of the lab, where no lab was ever heard and the report names none.
ARCHIVE = "archive"

_INPUTS: TypeAdapter[tuple[InputSeries, ...]] = TypeAdapter(tuple[InputSeries, ...])

#: What of a result is told.
_READ = (
    "seg_instance_id",
    "sr_instance_id",
    "tumor_detected",
    "volume_ml",
    "volume_voxels",
    "longest_diameter_mm",
    "slices",
    "slices_with_tumor",
    "model",
    "input_sha256",
)


@dataclass(frozen=True)
class StoredObjects:
    """What an archive that answers holds of a request."""

    #: As `InferenceRequest.result` has them, without the times; None where there is no result.
    figures: dict[str, Any] | None = None
    #: The lab that the report names; empty where it names none.
    lab: str = ""
    #: Why there is none, for an operator; quotes nothing of an object.
    detail: str = ""
    #: Whether something is there and cannot be read, while the archive hands out the images: that
    #: may pass, or not.
    fails: bool = False


def look_for(
    row: InferenceRequest, turn: AbstractContextManager[object] | None = None
) -> StoredObjects:
    """Look for the whole result of the request; what is there is read in its `turn`.

    What lies there and is not its result counts as nothing: anybody with an account at the archive
    may have been there first. So does what cannot be used of what the archive answers: a lab could
    keep its report looked for without end by it. Not inside a transaction: it speaks with the
    archive. Raises `ArchiveError` when that does not say what it holds.
    """
    asked = Asked(row.pk, row.study_id, row.study_uid, inputs_of(row), row.model)
    try:
        found = stored_result(asked, archive("results"), turn)
        if found is None:
            return StoredObjects(detail="the study does not hold the whole result")
        return StoredObjects(figures=_figures(row.pk, found), lab=_lab(found))
    except (UnreadableResult, UnusableAnswer) as exc:
        # What has ended a lab can have looked for again and again.
        level = logging.WARNING if row.state in ACTIVE else logging.INFO
        log.log(level, "stored_result_unreadable", request_id=str(row.pk), detail=str(exc))
        return StoredObjects(detail=str(exc))


def inputs_of(row: InferenceRequest) -> tuple[InputSeries, ...]:
    """The series that were chosen, as they travel."""
    return _INPUTS.validate_python(row.inputs)


def hands_out_images(row: InferenceRequest) -> bool:
    """Whether the archive reads an image of the request from its disk, or has none of it any more.

    Its index alone may answer while the disk is away. No more of the image is read than shows that
    it comes.
    """
    orthanc, silent = archive("results"), False
    with within():
        for one in inputs_of(row):
            try:
                instances = orthanc.json("series", one.series_id)["Instances"]
                if orthanc.has_pixels(instances[0]):
                    return True
            except NotInArchive:
                continue
            except (ArchiveError, LookupError, TypeError):
                silent = True
    return not silent


def record_stored(request_id: UUID, stored: StoredObjects) -> list[UUID]:
    """Complete the request with what was found; return what changed, older results too."""
    if stored.figures is None:
        return []
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=request_id).first()
        if row is None:
            return []
        found = ResultFound(
            at=timezone.now(),
            # How long the stages took is the one thing that only a lab can know.
            figures={**stored.figures, "stage_seconds": row.reported_seconds or {}},
            lab=stored.lab or row.lab or ARCHIVE,
        )
        return with_superseded([row.pk]) if record(row.pk, found) else []


def _figures(request_id: UUID, found: StoredResult) -> dict[str, Any]:
    """The figures within the bounds of the contract; raises `UnreadableResult` beyond them."""
    try:
        told = InferenceCompleted(
            request_id=request_id,
            attempt=1,
            delivery=0,
            sequence=0,
            lab=ARCHIVE,
            at=timezone.now(),
            stage_seconds={},
            **{name: value for name, value in asdict(found).items() if name in _READ},
        )
    except ValidationError:
        raise UnreadableResult("the result states figures that no result has") from None
    read_of = {*_READ}
    if told.input_sha256 is None:
        # As the results of before: nobody knows.
        read_of.discard("input_sha256")
    return told.model_dump(mode="json", include=read_of)


def _lab(found: StoredResult) -> str:
    return found.lab if re.fullmatch(NAME_PATTERN, found.lab) else ""
