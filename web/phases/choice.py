"""What the reader chose, checked: first by itself, then by what the archive holds of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from pydantic import TypeAdapter, ValidationError

from messages.envelope import Uid
from messages.lab import ModelDescriptor
from messages.phases import PhaseFacts, SeriesFacts
from messages.phases.check import Concern
from messages.request import InputSeries, PhaseSelector
from web.orthanc.archive import Orthanc, checked_id
from web.orthanc.errors import (
    ArchiveUnavailable,
    NotAnOrthancId,
    SeriesNotFound,
    StudyNotFound,
    UnusableAnswer,
)
from web.orthanc.time_budget import within
from web.phases.arriving import is_arriving
from web.phases.chosen import Selection, concerns_of, phases_of, twice
from web.phases.concerns import refusal_of
from web.phases.doubts import state_of
from web.phases.series_facts import read_series
from web.refusals import NotAsked, NotNow

log = structlog.get_logger(__name__)

_UID: TypeAdapter[str] = TypeAdapter(Uid)


@dataclass(frozen=True)
class Found:
    """What the archive has of a choice, in the model's order."""

    study_uid: str
    chosen: tuple[Selection, ...]
    #: By id, as Orthanc describes them.
    series: dict[str, dict[str, Any]]
    #: Empty where a series that is still arriving does not tell them apart yet.
    phases: tuple[PhaseFacts, ...]
    #: What speaks against the choice, as far as its phases can be told.
    concerns: tuple[Concern, ...]
    #: Ids of the chosen series of which more images may come.
    arriving: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Checked:
    """A choice that is taken: how a request names it."""

    study_uid: str
    #: In the model's order.
    inputs: tuple[InputSeries, ...]
    #: Whether more images may come: then counts and phases are not final, and were not compared.
    arriving: bool


def check_selections(
    model: ModelDescriptor, study_id: str, inputs: Sequence[Selection], threshold: float | None
) -> None:
    """Everything that can be said without the archive. Raises `NotAsked`."""
    if threshold is not None and not 0 < threshold < 1:
        raise NotAsked("threshold_out_of_range", _("The threshold must lie between 0 and 1."))
    needed = len(model.roles)
    if len(inputs) != needed:
        sentence = ngettext(
            "This model needs exactly %(needed)d phase; %(given)d were chosen.",
            "This model needs exactly %(needed)d phases; %(given)d were chosen.",
            needed,
        )
        raise NotAsked("wrong_phase_count", sentence % {"needed": needed, "given": len(inputs)})
    if {item.role for item in inputs} != set(model.roles):
        names = ", ".join(model.roles)
        raise NotAsked("wrong_roles", _("Each of these roles must be given once: ") + names + ".")
    try:
        for identifier in (study_id, *(item.series_id for item in inputs)):
            checked_id(identifier)
    except NotAnOrthancId:
        raise NotAsked("malformed_id", _("This is not the id of a study or series.")) from None
    if len({(item.series_id, item.phase) for item in inputs}) != len(inputs):
        raise twice()


def look_up(
    orthanc: Orthanc,
    model: ModelDescriptor,
    study_id: str,
    inputs: Sequence[Selection],
    *,
    waits: bool = False,
) -> Found:
    """The chosen phases as the archive has them now, and what speaks against them.

    Where the request `waits` for series that are still arriving, the phases of these refuse
    nothing: what is missing may come.

    Two calls, and those of `read_series` and `concerns_of` for each chosen series that has changed
    since its study was shown; not of the others, as `study_detail` does: the reader waits. In
    `web.orthanc.time_budget.PAGE_SECONDS` altogether. Raises `NotAsked` and `NotNow`.
    """
    by_role = {item.role: item for item in inputs}
    chosen = tuple(by_role[role] for role in model.roles)
    try:
        with within():
            study_uid: str = orthanc.json("studies", study_id)["MainDicomTags"]["StudyInstanceUID"]
            listed: list[dict[str, Any]] = orthanc.json("studies", study_id, "/series")
            known = {item["ID"]: item for item in listed}
            if any(item.series_id not in known for item in chosen):
                raise _no_series()
            # A series may be chosen for several roles.
            items = {item.series_id: known[item.series_id] for item in chosen}
            for item in items.values():
                _check_kind(item)
            facts = {key: read_series(orthanc, item).facts for key, item in items.items()}
            arriving = frozenset(key for key, item in items.items() if is_arriving(item))
            phases = _phases(facts, chosen, arriving if waits else frozenset())
            states = {key: state_of(item) for key, item in items.items()}
            concerns = concerns_of(orthanc, chosen, phases, states) if phases else []
    except StudyNotFound:
        raise no_study() from None
    except SeriesNotFound:
        raise _no_series() from None
    except UnusableAnswer:
        raise NotAsked("too_large", _("This study has more in it than can be read.")) from None
    except ArchiveUnavailable:
        sentence = _("The image archive does not answer. Nothing was sent; please try again.")
        raise NotNow("archive_unavailable", sentence) from None
    return Found(study_uid, chosen, items, phases, tuple(concerns), arriving)


def _phases(
    facts: Mapping[str, SeriesFacts], chosen: Sequence[Selection], arriving: Collection[str]
) -> tuple[PhaseFacts, ...]:
    if not arriving:
        return phases_of(facts, chosen)
    # Of those that are whole already every refusal is final.
    phases_of(facts, [item for item in chosen if item.series_id not in arriving])
    try:
        return phases_of(facts, chosen)
    except NotAsked:
        return ()


def from_archive(
    orthanc: Orthanc,
    model: ModelDescriptor,
    study_id: str,
    inputs: Sequence[Selection],
    *,
    waits: bool = False,
) -> Checked:
    """The choice as a request names it, in the model's order.

    Raises `NotAsked`, also where the phases do not belong together, and `NotNow`. What is only
    doubtful is noted: a person has ordered it. Where the request `waits` for images that are still
    arriving, only what cannot change by them refuses; it is checked again when they are there.
    """
    found = look_up(orthanc, model, study_id, inputs, waits=waits)
    if not (waits and found.arriving):
        _compare(found, study_id)
    phases = found.phases or (None,) * len(found.chosen)
    try:
        _UID.validate_python(found.study_uid)
        return Checked(
            found.study_uid,
            tuple(
                _input(item, found.series[item.series_id], phase)
                for item, phase in zip(found.chosen, phases, strict=True)
            ),
            bool(found.arriving),
        )
    except ValidationError:
        # Orthanc stores UIDs that DICOM forbids: too long, or with letters.
        sentence = _(
            "The study or a chosen series has a UID that DICOM does not allow, so it cannot be "
            "asked for."
        )
        raise NotAsked("unsupported_image", sentence) from None


def _compare(found: Found, study_id: str) -> None:
    """Refuse what does not belong together, and note what is doubtful."""
    for concern in found.concerns:
        if concern.refuses:
            raise refusal_of(concern)
    if found.concerns:
        faults = sorted({concern.fault.value for concern in found.concerns})
        log.info("choice_with_concerns", study_id=study_id, concerns=faults)


def _check_kind(series: dict[str, Any]) -> None:
    if series["MainDicomTags"].get("Modality") != "MR" or not series["Instances"]:
        raise _unsupported()


def _input(chosen: Selection, series: dict[str, Any], phase: PhaseFacts | None) -> InputSeries:
    """As the series holds it now; a phase of which nothing is known yet as it was chosen."""
    selector = chosen.phase
    if phase is not None:
        named = phase.keyword
        selector = PhaseSelector(keyword=named, value=phase.value) if named else None
    return InputSeries(
        role=chosen.role,
        series_id=series["ID"],
        series_uid=series["MainDicomTags"]["SeriesInstanceUID"],
        instance_count=len(series["Instances"]),
        phase_selector=selector,
    )


def no_study() -> NotAsked:
    """The study is not there, or not for this reader."""
    return NotAsked("study_not_found", _("This study is not in the archive."), 404)


def _no_series() -> NotAsked:
    sentence: Promise = _("A chosen series does not exist in this study.")
    return NotAsked("series_not_found", sentence, 404)


def _unsupported() -> NotAsked:
    return NotAsked("unsupported_image", _("Only MR series can be analysed."))
