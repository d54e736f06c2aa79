"""Reports: lesions, curves and origin of a result, read from the stored DICOM SR."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Schema

from web.access.audit import Action
from web.api.errors import failing
from web.api.results import StoredObject
from web.api.seen import shown_result
from web.inference.models import InferenceRequest
from web.inference.presentation import Result
from web.inference.superseded import results_before
from web.orthanc.archive import archive
from web.phases.proposal import notice_text, role_label
from web.results.report_details import Kinetics, Laterality, ReadLesion, WashOut
from web.results.report_origin import Origin
from web.results.stored_report import StoredReport, report_uids, stored_report

router = Router()


class PointView(Schema):
    """The signal of a lesion in one phase."""

    role: str
    #: In the caller's language.
    label: str
    #: Mean of the lesion's voxels, in the unit of the images.
    mean: float
    #: After the first phase; null where the images do not tell.
    seconds: float | None


class KineticsView(Schema):
    """The time-intensity curve of a lesion."""

    #: In the model's order of phases.
    points: list[PointView]
    #: Enhancement of the first phase after contrast over the one before, in percent.
    wash_in_percent: float | None
    wash_out: WashOut | None


class LesionView(Schema):
    """A lesion as the report states it."""

    #: From 1, the largest first.
    number: int
    label: str
    volume_ml: float | None
    #: In space.
    longest_diameter_mm: float | None
    #: Within one slice.
    longest_in_plane_mm: float | None
    #: Null for models that have no contrast phases, and where the curves are withheld.
    kinetics: KineticsView | None
    #: Left or right breast; `not_stated` in a report of an earlier version. Null for models of
    #: something else than the breast.
    laterality: Laterality | None


class InputPhaseView(Schema):
    """Which series, or which part of one, was read as which phase."""

    role: str
    label: str
    series_uid: str
    #: DICOM keyword and value of the phase; empty where the whole series is one.
    selector: str


class WeightsView(Schema):
    """A file of weights in the model's bundle."""

    file: str
    sha256: str


class OriginView(Schema):
    """What made the result, of what, where and when. Empty is what the report does not state."""

    model: str
    version: str
    bundle_sha256: str
    weights: list[WeightsView]
    phases: list[InputPhaseView]
    lab: str
    device: str
    #: Version of Labrelay at the lab.
    labrelay: str
    threshold: str
    #: Marks smaller than this were left out, in cubic millimetres.
    smallest_mm3: str
    #: SHA-256 over UIDs and MD5s of the files that it was computed from.
    input_sha256: str
    #: ISO 8601; without an offset where the report states no time zone.
    created: str
    notice: str
    #: `first_phase` where the signal of the phases was brought to the scale of the first,
    #: `different` where they have several and not all state theirs.
    signal_scale: str


class ReplacedView(Schema):
    """The report that this one names as its predecessor."""

    sop_instance_uid: str
    #: Null when it is of no request that this site knows.
    request_id: UUID | None


class ReportView(Schema):
    """What the archive holds of a result beside its pixels."""

    request_id: UUID
    report: StoredObject
    #: As DICOM has it: `UNVERIFIED` until a person has verified it in the archive.
    verification: str
    tumor_detected: bool
    #: Of all lesions together; null where nothing was found.
    volume_ml: float | None
    longest_diameter_mm: float | None
    #: Null in a report of an earlier version, which measured all of them as one.
    lesions: list[LesionView] | None
    #: Marks that were not taken for lesions: too small, or too many. Null where not stated.
    left_out: int | None
    #: Why no curves are stated although the model has phases for them: `different_scales`; else
    #: empty.
    curves_withheld: str
    origin: OriginView
    replaces: ReplacedView | None


@router.get(
    "/{uuid:request_id}/report",
    response={200: ReportView, **failing(404, 409, 410, 502, 503)},
    url_name="request_report",
    operation_id="read_report",
)
def report(request: HttpRequest, request_id: UUID) -> ReportView:
    """The stored report of a completed request; 409 while there is none.

    410 when the result is withdrawn or gone, 404 when the report alone is no longer in the archive,
    502 when what it holds cannot be read.
    """
    row, caller = shown_result(request, request_id)
    found = Result.model_validate(row.result).tumor_detected
    stored = stored_report(row.pk, (row.study_id, row.study_uid), archive(), tumor_detected=found)
    caller.note(Action.RESULT_VIEWED, study_id=row.study_id, subject=str(row.pk))
    return _shown(row, stored)


def _shown(row: InferenceRequest, stored: StoredReport) -> ReportView:
    details = stored.details
    return ReportView(
        request_id=row.pk,
        report=StoredObject(
            instance_id=stored.instance_id,
            series_uid=stored.series_uid,
            sop_instance_uid=stored.sop_instance_uid,
        ),
        verification=details.verification,
        tumor_detected=details.tumor_detected,
        volume_ml=details.volume_ml,
        longest_diameter_mm=details.longest_diameter_mm,
        lesions=None if details.lesions is None else [_lesion(one) for one in details.lesions],
        left_out=details.left_out,
        curves_withheld=details.curves_withheld,
        origin=_origin(details.origin),
        replaces=_replaces(row, details.predecessor_uid),
    )


def _lesion(lesion: ReadLesion) -> LesionView:
    return LesionView(
        number=lesion.number,
        label=lesion.label,
        volume_ml=lesion.volume_ml,
        longest_diameter_mm=lesion.longest_diameter_mm,
        longest_in_plane_mm=lesion.longest_in_plane_mm,
        kinetics=None if lesion.kinetics is None else _kinetics(lesion.kinetics),
        laterality=lesion.laterality,
    )


def _kinetics(curve: Kinetics) -> KineticsView:
    return KineticsView(
        points=[
            PointView(
                role=point.role,
                label=role_label(point.role),
                mean=point.mean,
                seconds=point.seconds,
            )
            for point in curve.points
        ],
        wash_in_percent=curve.wash_in_percent,
        wash_out=curve.wash_out,
    )


def _origin(origin: Origin) -> OriginView:
    return OriginView(
        model=origin.model,
        version=origin.version,
        bundle_sha256=origin.bundle_sha256,
        weights=[WeightsView(file=file, sha256=sha256) for file, sha256 in origin.weights_sha256],
        phases=[
            InputPhaseView(
                role=phase.role,
                label=role_label(phase.role),
                series_uid=phase.series_uid,
                selector=phase.selector,
            )
            for phase in origin.phases
        ],
        lab=origin.lab,
        device=origin.device,
        labrelay=origin.labrelay,
        threshold=origin.threshold,
        smallest_mm3=origin.smallest_mm3,
        input_sha256=origin.input_sha256,
        created=origin.created,
        notice=notice_text(origin.notice),
        signal_scale=origin.signal_scale,
    )


def _replaces(row: InferenceRequest, uid: str) -> ReplacedView | None:
    """Whose report it is, is found among those that it can be of: the UIDs are derived."""
    if not uid:
        return None
    for earlier in results_before(row):
        if uid in {report_uids(earlier, tumor_detected=found)[1] for found in (True, False)}:
            return ReplacedView(sop_instance_uid=uid, request_id=earlier)
    return ReplacedView(sop_instance_uid=uid, request_id=None)
