"""Studies: what the archive holds of what the caller sees. Answers name patients; logs never do."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import TypeAdapter

from messages.phases import Unclear
from messages.request import PhaseSelector
from web.access.audit import Action
from web.access.caller import caller_of
from web.api.cursors import DEFAULT_LIMIT, Cursor, Limit, cursor_of, place_of
from web.api.errors import failing
from web.api.study_pages import Place, page_of_studies
from web.pages.views import seen
from web.phases.phase_names import selector_of
from web.phases.studies import SeriesDetail, as_date, readable_name, study_detail

router = Router()

_PLACE = TypeAdapter(Place)


class StudyLine(Schema):
    """A study in the list."""

    study_id: str
    study_uid: str
    patient_name: str
    patient_id: str
    study_date: date | None
    description: str
    series_count: int


class StudyList(Schema):
    """One page, newest first."""

    studies: list[StudyLine]
    #: The cursor of the next page; null on the last one.
    next: str | None


class SeriesPhaseView(Schema):
    """A phase of a series."""

    #: What a request names; null when the whole series is the phase.
    phase: PhaseSelector | None
    #: Seconds from the midnight before the study.
    acquired_at_s: float | None
    #: Instances, or frames of a multi-frame one.
    image_count: int


class SeriesView(Schema):
    """A series of a study."""

    series_id: str
    series_uid: str
    modality: str
    description: str
    number: int | None
    instance_count: int
    #: MR only: whether more images may come, as far as the archive knows.
    arriving: bool
    #: MR only: seconds from the midnight before the study.
    acquired_at_s: float | None
    image_type: list[str]
    #: MR only; one for a series that is a phase as a whole, none where they cannot be told apart.
    phases: list[SeriesPhaseView]
    #: Why the phases cannot be told apart; null where they can.
    unclear: Unclear | None


class StudyView(Schema):
    """A study with its series in the order of their numbers."""

    study_id: str
    study_uid: str
    patient_name: str
    patient_id: str
    study_date: date | None
    description: str
    series: list[SeriesView]


@router.get("", response={200: StudyList, **failing(422, 503)}, operation_id="list_studies")
def studies(
    request: HttpRequest, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> StudyList:
    """The studies that the caller sees, newest first."""
    caller = caller_of(request)
    after = None if cursor is None else place_of(cursor, _PLACE)
    found, last = page_of_studies(caller.scope, limit, after)
    caller.note(Action.STUDIES_LISTED)
    return StudyList(
        studies=[_line(item) for item in found],
        next=None if last is None else cursor_of(last, _PLACE),
    )


@router.get(
    "/{study_id}", response={200: StudyView, **failing(404, 503)}, operation_id="read_study"
)
def study(request: HttpRequest, study_id: str) -> StudyView:
    """A study and its series."""
    caller = seen(request, study_id)
    found = study_detail(study_id)
    caller.note(Action.STUDY_VIEWED, study_id=found.study_id)
    return StudyView(
        study_id=found.study_id,
        study_uid=found.study_uid,
        patient_name=found.patient_name,
        patient_id=found.patient_id,
        study_date=found.study_date,
        description=found.description,
        series=[_series(item) for item in found.series],
    )


def _series(item: SeriesDetail) -> SeriesView:
    facts = item.facts
    return SeriesView(
        series_id=facts.series_id,
        series_uid=item.series_uid,
        modality=facts.modality,
        description=facts.description,
        number=item.number,
        instance_count=facts.instance_count,
        arriving=item.arriving,
        acquired_at_s=item.acquired_at_s,
        image_type=list(facts.image_type),
        phases=[
            SeriesPhaseView(
                phase=selector_of(phase.keyword, phase.value),
                acquired_at_s=phase.acquired_at_s,
                image_count=phase.image_count,
            )
            for phase in facts.phases
        ],
        unclear=facts.unclear,
    )


def _line(item: dict[str, Any]) -> StudyLine:
    tags, patient = item["MainDicomTags"], item["PatientMainDicomTags"]
    return StudyLine(
        study_id=item["ID"],
        study_uid=tags["StudyInstanceUID"],
        patient_name=readable_name(patient.get("PatientName", "")),
        patient_id=patient.get("PatientID", ""),
        study_date=as_date(tags.get("StudyDate", "")),
        description=tags.get("StudyDescription", ""),
        series_count=len(item["Series"]),
    )
