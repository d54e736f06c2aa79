"""The newest stored result, read as a page reads it. The site writes nothing to find that out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from web.checks import database
from web.checks.line import Line, bad, note, ok, skipped
from web.inference.models import InferenceRequest
from web.inference.presentation import phase_of
from web.inference.states import State
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveError, ArchiveUnavailable, NotInArchive
from web.phases.phase_names import PhaseName
from web.results.overlay import overlay_of
from web.results.stored_report import stored_report

_NOUN = "newest result"


def check(url: str, user: str, password: str) -> Iterator[Line]:
    """Whether report and outlines can be read, whatever encoding the archive keeps them in."""
    if not database.ready():
        yield skipped(_NOUN, "database")
        return
    completed = InferenceRequest.objects.filter(state=State.COMPLETED, result__isnull=False)
    row = completed.order_by("-created_at", "-pk").first()
    if row is None:
        yield note(_NOUN, "there is none yet; mri-consumer check stores an object and reads it")
        return
    with closing(Orthanc(url, user, password)) as orthanc:
        yield read(row, orthanc)


def read(row: InferenceRequest, orthanc: Orthanc) -> Line:
    """The line of one completed request."""
    result = row.result or {}
    study = (row.study_id, row.study_uid)
    inputs = [PhaseName(item["series_id"], phase_of(item)) for item in row.inputs]
    try:
        stored_report(row.pk, study, orthanc, tumor_detected=bool(result.get("tumor_detected")))
        overlay_of(row.study_id, inputs, result.get("seg_instance_id"), orthanc=orthanc)
    except ArchiveUnavailable:
        return skipped(_NOUN, "archive")
    except NotInArchive:
        return note(_NOUN, f"that of request {row.pk} is no longer in the archive")
    except ArchiveError as error:
        return bad(
            _NOUN,
            f"that of request {row.pk} cannot be shown: {error}",
            "look in Orthanc's configuration for IngestTranscoding and for what else changes "
            "objects, and run mri-consumer check",
        )
    return ok(_NOUN, f"report and outlines of request {row.pk} are read")
