"""Verdicts: what readers think of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from ninja import Router, Schema, Status
from pydantic import Field

from web.api.errors import ErrorAnswer, failing, refused
from web.api.requests import IdempotencyKey, note_results
from web.api.seen import seen_request
from web.inference.presentation import Moment
from web.inference.verdict import DECIDING, MAX_TEXT, Decision, Verdict
from web.inference.verdict_given import give_verdict
from web.refusals import Refused

router = Router()

#: Verdicts of one result that are told, the newest.
MAX_VERDICTS = 200


class VerdictIn(Schema):
    """What a reader says of a result."""

    decision: Decision
    #: The reason of a rejection, or the comment; both need one.
    text: Annotated[str, Field(max_length=MAX_TEXT)] = ""


class VerdictView(Schema):
    """A verdict as it was given."""

    decision: Decision
    text: str
    #: The reader's user name; empty when the user is deleted.
    by: str
    at: Moment


class VerdictList(Schema):
    """All that readers have said of a result, newest first."""

    request_id: UUID
    #: The latest acceptance or rejection; null while there is none. A comment leaves it.
    current: VerdictView | None
    verdicts: list[VerdictView]


@router.get(
    "/{uuid:request_id}/verdicts",
    response={200: VerdictList, **failing(404)},
    url_name="request_verdicts",
    operation_id="list_verdicts",
)
def verdicts(request: HttpRequest, request_id: UUID) -> VerdictList:
    """What readers have said of the result."""
    row, caller = seen_request(request, request_id)
    note_results(caller, [row])
    return _list(request_id)


@router.post(
    "/{uuid:request_id}/verdicts",
    response={201: VerdictList, **failing(400, 403, 404, 409, 413, 422)},
    operation_id="give_verdict",
)
def give(
    request: HttpRequest,
    request_id: UUID,
    body: VerdictIn,
    idempotency_key: IdempotencyKey = None,
) -> Status[VerdictList] | Status[ErrorAnswer]:
    """Accept the result, reject it with a reason, or comment on it.

    A verdict is never changed: the next one stands in its place, and both are told. It is kept
    here and not written into the archive. 409 while there is no result.
    """
    _row, caller = seen_request(request, request_id)
    try:
        give_verdict(request_id, caller, body.decision, body.text, idempotency_key)
    except Refused as exc:
        return refused(exc, request_id)
    return Status(201, _list(request_id))


def _list(request_id: UUID) -> VerdictList:
    given = Verdict.objects.filter(request_id=request_id)
    newest = list(given[:MAX_VERDICTS])
    standing = given.filter(decision__in=sorted(DECIDING)).first()
    views = _views([*newest, *([standing] if standing else [])])
    return VerdictList(
        request_id=request_id,
        current=views.pop() if standing else None,
        verdicts=views,
    )


def _views(given: Sequence[Verdict]) -> list[VerdictView]:
    # Not by the rows themselves: of a user who is deleted they hold a number that nobody has.
    users = get_user_model().objects.in_bulk({one.by_id for one in given if one.by_id is not None})
    return [
        VerdictView(
            decision=Decision(one.decision),
            text=one.text,
            by=users[one.by_id].get_username() if one.by_id in users else "",
            at=one.at,
        )
        for one in given
    ]
