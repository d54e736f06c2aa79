"""A click becomes a request and its outbox row, in one transaction, or a refusal.

A click for what is asked for already becomes that request: of the same wish one is active at a
time, whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from pydantic import TypeAdapter, ValidationError

from messages.envelope import Uid
from messages.lab import ModelDescriptor
from messages.request import InferenceRequested, InputSeries
from web.archive.errors import ArchiveUnavailable, NotAnOrthancId, StudyNotFound
from web.archive.orthanc import Orthanc, archive, checked_id
from web.door.audit import Action
from web.door.visitor import Visitor
from web.inference.history import note_beginning
from web.inference.idempotency import NamedClick
from web.inference.models import InferenceRequest
from web.inference.outbox import enqueue_request
from web.inference.refusals import NotAsked, NotNow
from web.inference.wishes import active_request, wish_of
from web.labs.catalogue import model_on_offer

_UID: TypeAdapter[str] = TypeAdapter(Uid)

#: How often a click is tried again that met the same one: that may end in this very moment, and
#: the next be made by somebody else. What still fails then has another reason.
_TURNS = 4


@dataclass(frozen=True)
class Selection:
    """One series that the reader chose for a role."""

    role: str
    series_id: str


def submit(
    *,
    study_id: str,
    inputs: Sequence[Selection],
    user: User | None,
    model: str | None = None,
    threshold: float | None = None,
    pool: str | None = None,
    click: NamedClick | None = None,
    retry_of: InferenceRequest | None = None,
    visitor: Visitor | None = None,
    orthanc: Orthanc | None = None,
) -> InferenceRequest:
    """Write the request down and return it; it is published after the commit.

    Without `pool` the settings choose it. While a request for the same wish is active, that one is
    returned and nothing is published. A `click` of a key that was used before for the same is its
    request of that time. What a `visitor` asks for is noted in the audit trail; a study that they
    do not see is not there. Raises `NotAsked` for wrong input and `NotNow` when the archive cannot
    be asked.
    """
    if visitor is not None and not visitor.sight.sees(study_id):
        raise _no_study()
    # Before the archive is asked: what was taken once is told also while that is down.
    if click is not None and (earlier := click.earlier()):
        return earlier
    pool = pool or settings.SITE.pool
    chosen = _model(model, pool)
    _check_choice(chosen, study_id, inputs, threshold)
    study_uid, series = _from_archive(orthanc or archive(), study_id, inputs)
    by_role = {item.role: item for item in series}
    message = InferenceRequested(
        request_id=uuid4(),
        attempt=1,
        pool=pool,
        model=chosen.name,
        study_uid=study_uid,
        # In the model's own order of roles, whatever order the page sent.
        inputs=tuple(by_role[role] for role in chosen.roles),
        threshold=threshold,
        deadline_s=settings.SITE.request_deadline_seconds,
    )
    row = InferenceRequest(
        id=message.request_id,
        pool=message.pool,
        model=message.model,
        study_id=study_id,
        study_uid=message.study_uid,
        inputs=message.model_dump(mode="json", exclude_none=True)["inputs"],
        threshold=message.threshold,
        deadline_s=message.deadline_s,
        requested_by=user,
        retry_of=retry_of,
        wish=wish_of(message, study_id),
    )
    return _one_request(row, click, visitor)


def _one_request(
    new: InferenceRequest, click: NamedClick | None, visitor: Visitor | None
) -> InferenceRequest:
    """The new request, or the one that is the same already."""
    for _turn in range(_TURNS):
        try:
            return _taken(new, click, visitor)
        except IntegrityError:
            # All of this turn is undone. The same click came twice and the other one was first,
            # or somebody asked for the same in this moment: the next turn finds theirs.
            if click is not None and (earlier := click.earlier()):
                return earlier
    return _taken(new, click, visitor)


def _taken(
    new: InferenceRequest, click: NamedClick | None, visitor: Visitor | None
) -> InferenceRequest:
    """All that a click leaves behind, in one transaction.

    Raises `IntegrityError` when another transaction has taken the wish or the key meanwhile. The
    look before the write only spares that: two clicks at once may both find nothing.
    """
    with transaction.atomic():
        row = active_request(new.wish) or _written(new)
        if visitor is not None:
            visitor.note(Action.REQUESTED, study_id=row.study_id, subject=str(row.pk))
        if click is not None:
            click.keep(row)
    return row


def _written(new: InferenceRequest) -> InferenceRequest:
    new.save(force_insert=True)
    note_beginning(new)
    enqueue_request(new)
    return new


def _model(name: str | None, pool: str) -> ModelDescriptor:
    chosen = model_on_offer(name, pool)
    if chosen is None:
        raise NotAsked("unknown_model", _("No lab offers this model."))
    return chosen


def _check_choice(
    model: ModelDescriptor, study_id: str, inputs: Sequence[Selection], threshold: float | None
) -> None:
    """Everything that can be said without the archive."""
    if threshold is not None and not 0 < threshold < 1:
        raise NotAsked("threshold_out_of_range", _("The threshold must lie between 0 and 1."))
    needed = len(model.roles)
    if len(inputs) != needed:
        sentence = ngettext(
            "This model needs exactly %(needed)d series; %(given)d were chosen.",
            "This model needs exactly %(needed)d series; %(given)d were chosen.",
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
    if len({item.series_id for item in inputs}) != len(inputs):
        raise NotAsked("same_series_twice", _("The same series was chosen for two phases."))


def _from_archive(
    orthanc: Orthanc, study_id: str, inputs: Sequence[Selection]
) -> tuple[str, list[InputSeries]]:
    """The study's UID and the chosen series, as the archive has them now.

    Two calls, and not `study_detail`, which makes one more for each series: the reader waits.
    """
    try:
        study_uid: str = orthanc.json("studies", study_id)["MainDicomTags"]["StudyInstanceUID"]
        listed: list[dict[str, Any]] = orthanc.json("studies", study_id, "/series")
    except StudyNotFound:
        raise _no_study() from None
    except ArchiveUnavailable:
        sentence = _("The image archive does not answer. Nothing was sent; please try again.")
        raise NotNow("archive_unavailable", sentence) from None
    known = {item["ID"]: item for item in listed}
    if any(item.series_id not in known for item in inputs):
        sentence = _("A chosen series does not exist in this study.")
        raise NotAsked("series_not_found", sentence, 404)
    try:
        _UID.validate_python(study_uid)
        return study_uid, [_input(item.role, known[item.series_id]) for item in inputs]
    except ValidationError:
        # Orthanc stores UIDs that DICOM forbids: too long, or with letters.
        raise _unsupported() from None


def _input(role: str, series: dict[str, Any]) -> InputSeries:
    if series["MainDicomTags"].get("Modality") != "MR" or not series["Instances"]:
        raise _unsupported()
    return InputSeries(
        role=role,
        series_id=series["ID"],
        series_uid=series["MainDicomTags"]["SeriesInstanceUID"],
        instance_count=len(series["Instances"]),
    )


def _no_study() -> NotAsked:
    return NotAsked("study_not_found", _("This study is not in the archive."), 404)


def _unsupported() -> NotAsked:
    return NotAsked("unsupported_image", _("Only MR series can be analysed."))
