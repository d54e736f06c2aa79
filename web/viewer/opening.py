"""Where the viewer opens: a study, and of its results the newest, or the one of a request."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from messages.identity import primary_series_uid
from web.inference.models import InferenceRequest
from web.inference.result_state import ResultState
from web.inference.states import State
from web.orthanc.archive import archive
from web.orthanc.errors import ArchiveUnavailable


def query_of(study_id: str, request_id: UUID | None = None) -> str:
    """The viewer's parameters for a study by Orthanc's id.

    A result without a segmentation is a report that nothing was found: then the images alone, and
    no older result over them. Raises the errors of `web.orthanc.errors`.
    """
    try:
        study_uid = str(archive().json("studies", study_id)["MainDicomTags"]["StudyInstanceUID"])
    except (KeyError, TypeError):
        raise ArchiveUnavailable("Orthanc described a study without its UID") from None
    parameters = {"StudyInstanceUIDs": study_uid}
    # What is withdrawn or gone is not opened: the images alone then.
    completed = InferenceRequest.objects.filter(
        study_id=study_id, state=State.COMPLETED, result_state=ResultState.STORED
    )
    if request_id is not None:
        completed = completed.filter(pk=request_id)
    row = completed.order_by("-created_at", "-pk").first()
    if row is not None and row.result is not None and row.result.get("seg_instance_id"):
        parameters["initialSeriesInstanceUID"] = primary_series_uid(row.pk)
    return urlencode(parameters)
