"""Results: the figures of a completed request, and where its objects are."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from ninja import Router, Schema

from messages import identity
from web.access.audit import Action
from web.api.errors import failing
from web.api.seen import shown_result
from web.inference.models import InferenceRequest
from web.inference.presentation import Moment, Result

router = Router()


class StoredObject(Schema):
    """An object in the archive."""

    #: Orthanc's id.
    instance_id: str
    series_uid: str
    sop_instance_uid: str


class Links(Schema):
    """Addresses on this site."""

    request: str
    #: The outlines by slice, as the study page draws them.
    overlay: str


class ResultView(Schema):
    """The figures of a result, computed from what is stored."""

    request_id: UUID
    study_id: str
    finished_at: Moment | None
    lab: str
    figures: Result
    #: DICOM SEG; null when nothing was found.
    segmentation: StoredObject | None
    #: DICOM SR with the measurements, or with the statement that nothing was found.
    report: StoredObject
    links: Links


@router.get(
    "/{uuid:request_id}/result",
    response={200: ResultView, **failing(404, 409, 410)},
    operation_id="read_result",
)
def result(request: HttpRequest, request_id: UUID) -> ResultView:
    """The result of a completed request; 409 while there is none.

    410 when it is withdrawn, or the archive no longer holds it.
    """
    row, caller = shown_result(request, request_id)
    caller.note(Action.RESULT_VIEWED, study_id=row.study_id, subject=str(row.pk))
    return _shown(row, Result.model_validate(row.result))


def _shown(row: InferenceRequest, figures: Result) -> ResultView:
    primary = (identity.primary_series_uid(row.pk), identity.primary_instance_uid(row.pk))
    report = (identity.report_series_uid(row.pk), identity.report_instance_uid(row.pk))
    segmentation = None
    if figures.seg_instance_id is None:
        # Nothing was found: then the report is the primary object.
        report = primary
    else:
        segmentation = _stored(figures.seg_instance_id, *primary)
    return ResultView(
        request_id=row.pk,
        study_id=row.study_id,
        finished_at=row.finished_at,
        lab=row.lab,
        figures=figures,
        segmentation=segmentation,
        report=_stored(figures.sr_instance_id, *report),
        links=Links(
            request=reverse("labrelay_api:request", args=[row.pk]),
            overlay=reverse("labrelay:overlay", args=[row.pk]),
        ),
    )


def _stored(instance_id: str, series_uid: str, sop_instance_uid: str) -> StoredObject:
    return StoredObject(
        instance_id=instance_id, series_uid=series_uid, sop_instance_uid=sop_instance_uid
    )
