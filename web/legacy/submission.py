"""What a waiting call asks for: read from address and body, checked, and submitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from pydantic import BaseModel, Field, ValidationError

from messages.lab import ModelDescriptor
from web.access.caller import Caller
from web.inference.models import InferenceRequest
from web.inference.submit import submit
from web.labs.catalogue import model_on_offer
from web.legacy.answers import CallEnded
from web.legacy.caller import at_home, not_too_often, require_caller, require_seen
from web.orthanc.archive import archive, checked_id
from web.orthanc.errors import NotAnOrthancId, NotInArchive
from web.phases.chosen import Selection

#: Ids that a body may name; the widest contract allows 16 roles.
MAX_IDS = 32

_YES = frozenset({"true", "1", "yes"})

#: The archive's levels that an old call names.
Level = Literal["series", "instances"]

_Ids = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=MAX_IDS)]


class SeriesBody(BaseModel):
    """Of a call for series: their ids in phase order."""

    sequence_series_ids: _Ids


class InstancesBody(BaseModel):
    """Of a call for instances: one of each phase, in phase order."""

    sequence_instance_ids: _Ids


@dataclass(frozen=True)
class Taken:
    """A request that is written down, and the series by which the call knows it."""

    row: InferenceRequest
    series_id: str
    caller: Caller


def take(request: HttpRequest, level: Level, named: str, body: bytes, *, local: bool) -> Taken:
    """Check the caller and the wish, and submit it; `named` is the id in the address.

    Raises `CallEnded`, and what `submit` and the archive raise. Nothing was queued then.
    """
    at_home(request)
    caller = require_caller(request)
    not_too_often(caller)
    pool = "lab" if local else _pool(request.GET)
    ids = _ids(level, request, body)
    model = _model(pool)
    _check(ids, named, model)
    series_id = named if level == "series" else _parent(named)
    study_id = _study(series_id)
    # Before any other id is looked at.
    require_seen(caller, study_id, named, _absent())
    series = list(ids) if level == "series" else _series_of(ids, study_id)
    return Taken(_submitted(caller, study_id, series, model, pool), series_id, caller)


def _submitted(
    caller: Caller, study_id: str, series: Sequence[str], model: ModelDescriptor, pool: str
) -> InferenceRequest:
    return submit(
        study_id=study_id,
        inputs=[Selection(*pair) for pair in zip(model.roles, series, strict=True)],
        user=caller.user,
        model=model.name,
        pool=pool,
        caller=caller,
    )


def _pool(query: Any) -> str:
    """``use_local`` means the lab, ``force_gcp`` the server itself; neither: as the site is set."""
    local, server = (query.get(key, "").lower() in _YES for key in ("use_local", "force_gcp"))
    if local and server:
        raise CallEnded(400, _("The call asks for the lab and for the server at once."))
    if local or server:
        return "lab" if local else "server"
    chosen: str = settings.SITE.pool
    return chosen


def _ids(level: Level, request: HttpRequest, body: bytes) -> list[str]:
    if request.content_type != "application/json":
        raise CallEnded(400, _("The body must be JSON, and the header Content-Type must say so."))
    try:
        if level == "series":
            return SeriesBody.model_validate_json(body).sequence_series_ids
        return InstancesBody.model_validate_json(body).sequence_instance_ids
    except ValidationError:
        # pydantic's own text would quote what was sent.
        sentence = _("The body must be a JSON object with the list {name}.")
        name = "sequence_series_ids" if level == "series" else "sequence_instance_ids"
        raise CallEnded(400, sentence.format(name=name)) from None


def _model(pool: str) -> ModelDescriptor:
    # By its name: the old front end cannot say that another one has answered.
    model = model_on_offer(settings.SITE.default_model, pool)
    if model is None:
        raise CallEnded(503, _("No lab offers this model."))
    return model


def _check(ids: Sequence[str], named: str, model: ModelDescriptor) -> None:
    """Everything that can be said without the archive."""
    needed = len(model.roles)
    if len(ids) != needed:
        sentence = ngettext(
            "This model needs exactly %(needed)d phase; %(given)d were chosen.",
            "This model needs exactly %(needed)d phases; %(given)d were chosen.",
            needed,
        )
        raise CallEnded(400, sentence % {"needed": needed, "given": len(ids)})
    if named not in ids:
        raise CallEnded(400, _("The id in the address is not among those in the body."))
    try:
        for identifier in ids:
            checked_id(identifier)
    except NotAnOrthancId:
        raise CallEnded(400, _("This is not the id of a study or series.")) from None


def _series_of(instance_ids: Sequence[str], study_id: str) -> list[str]:
    """The series of these instances, as far as they belong to the study.

    For the others their own id, which no series has: `submit` then refuses what is nowhere like
    what lies in a study that the caller may not see.
    """
    own = frozenset(archive().json("studies", study_id)["Series"])
    found = []
    for instance_id in instance_ids:
        try:
            series_id = archive().json("instances", instance_id)["ParentSeries"]
        except NotInArchive:
            series_id = None
        found.append(series_id if series_id in own else instance_id)
    return found


def _parent(instance_id: str) -> str:
    return _found(lambda: archive().json("instances", instance_id)["ParentSeries"])


def _study(series_id: str) -> str:
    return _found(lambda: archive().json("series", series_id)["ParentStudy"])


def _found(look: Callable[[], str]) -> str:
    try:
        return look()
    except NotInArchive:
        raise CallEnded(404, _absent()) from None


def _absent() -> str:
    return _("This series is not in the archive.")
