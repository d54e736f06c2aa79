"""Labs: who is there."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router, Schema

from web.api.errors import failing
from web.labs.heartbeats import lab_views
from web.live.messages import LabView

router = Router()


class LabList(Schema):
    """Every lab that staff have confirmed and that was ever heard of, by name."""

    labs: list[LabView]


@router.get("", response={200: LabList, **failing()}, operation_id="list_labs")
def labs(request: HttpRequest) -> LabList:  # noqa: ARG001 - ninja's name
    """The labs, as each last told of itself."""
    return LabList(labs=[LabView.model_validate(lab) for lab in lab_views()])
