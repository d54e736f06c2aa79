"""Requests: ask for an analysis, and read what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Header, Query, Router, Schema, Status
from pydantic import Field, TypeAdapter

from messages.envelope import Name, OrthancId
from messages.request import PhaseSelector
from web.access.caller import Caller, caller_of
from web.api.cursors import DEFAULT_LIMIT, Cursor, Instant, Limit, cursor_of, place_of
from web.api.errors import failing
from web.api.seen import note_refusal, seen_request
from web.inference.compare import looked_at
from web.inference.idempotency import KEY_PATTERN, digest_of, named_click
from web.inference.models import InferenceRequest
from web.inference.presentation import Failure, Moment, RequestView, failure_of
from web.inference.states import State
from web.inference.submit import submit
from web.inference.supersession import with_supersession
from web.orthanc.archive import archive
from web.phases.chosen import Selection

router = Router()

#: Series that a body may name; the widest contract allows 16 roles.
MAX_INPUTS = 32

#: Creation and id of a page's last request.
_PLACE: TypeAdapter[tuple[Instant, UUID]] = TypeAdapter(tuple[Instant, UUID])

#: The header by which a click names itself.
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=KEY_PATTERN,
        description="The same key with the same wish is the same request, however often.",
    ),
]

#: For ``openapi_extra=``: the header of a request that was taken.
LOCATION = {
    "responses": {
        202: {
            "headers": {
                "Location": {
                    "description": "Where the request can be read.",
                    "required": True,
                    "schema": {"type": "string", "format": "uri-reference"},
                }
            }
        }
    }
}


class SelectionIn(Schema):
    """One series, or one phase of it, for one role of the model."""

    role: Annotated[str, Field(max_length=63)]
    series_id: Annotated[str, Field(max_length=64)]
    #: Null for a series that is one phase; one of those that the study tells for another.
    phase: PhaseSelector | None = None


class RequestIn(Schema):
    """What a reader asks for."""

    study_id: Annotated[str, Field(max_length=64)]
    inputs: Annotated[list[SelectionIn], Field(max_length=MAX_INPUTS)]
    model: Annotated[str, Field(max_length=63)] | None = None
    threshold: float | None = None


class RequestFilter(Schema):
    """Which requests; all of them together."""

    study_id: OrthancId | None = None
    state: State | None = None
    model: Name | None = None
    pool: Name | None = None
    since: Annotated[Instant, Field(description="Made then or later.")] | None = None
    until: Annotated[Instant, Field(description="Made before then.")] | None = None
    mine: Annotated[bool, Field(description="Only those that the caller has made.")] = False

    def of(self, rows: QuerySet[InferenceRequest], caller: Caller) -> QuerySet[InferenceRequest]:
        """Those of the rows that are asked for."""
        wanted: dict[str, Any] = {
            "study_id": self.study_id,
            "state": self.state,
            "model": self.model,
            "pool": self.pool,
            "created_at__gte": self.since,
            "created_at__lt": self.until,
            "requested_by": caller.user if self.mine else None,
        }
        return rows.filter(**{name: value for name, value in wanted.items() if value is not None})


class RequestList(Schema):
    """One page, newest first."""

    requests: list[RequestView]
    #: The cursor of the next page; null on the last one.
    next: str | None


class EventView(Schema):
    """One change of a request."""

    #: Of the request after the change; rises, with gaps where only progress was told.
    version: int
    state: State
    #: By the site's clock; of before an upgrade perhaps by the lab's.
    at: Moment
    attempt: int
    delivery: int
    lab: str
    failure: Failure | None


class EventList(Schema):
    """A request's history, oldest first."""

    request_id: UUID
    events: list[EventView]


@router.post(
    "",
    response={202: RequestView, **failing(400, 403, 404, 413, 422, 503)},
    url_name="requests",
    operation_id="create_request",
    openapi_extra=LOCATION,
)
def create(
    request: HttpRequest,
    body: RequestIn,
    response: HttpResponse,
    idempotency_key: IdempotencyKey = None,
) -> Status[RequestView]:
    """Ask for an analysis: the request is safe once this has answered.

    While somebody's request for the same phases, model and threshold is active, it is that one.
    """
    caller = caller_of(request)
    if not caller.scope.sees(body.study_id):
        note_refusal(caller, body.study_id)
    inputs = [Selection(item.role, item.series_id, item.phase) for item in body.inputs]
    digest = digest_of(body.study_id, inputs, body.model, body.threshold)
    row = submit(
        study_id=body.study_id,
        inputs=inputs,
        user=caller.user,
        model=body.model,
        threshold=body.threshold,
        click=named_click(caller.user, idempotency_key, digest),
        caller=caller,
    )
    response["Location"] = f"{request.path}/{row.pk}"
    # A key that was used before names a request that may have ended.
    note_results(caller, [row])
    return Status(202, RequestView.of(row))


@router.get("", response={200: RequestList, **failing(422)}, operation_id="list_requests")
def newest(
    request: HttpRequest,
    wanted: Query[RequestFilter],
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> RequestList:
    """The requests of the studies that the caller sees, newest first."""
    caller = caller_of(request)
    rows = with_supersession(wanted.of(caller.scope.only(InferenceRequest.objects.all()), caller))
    if cursor is not None:
        at, last = place_of(cursor, _PLACE)
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=last))
    # One more than asked for: whether there is a next page.
    found = list(rows.order_by("-created_at", "-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    note_results(caller, found)
    return RequestList(
        requests=[RequestView.of(row) for row in found],
        next=cursor_of((found[-1].created_at, found[-1].pk), _PLACE) if more else None,
    )


@router.get(
    "/{uuid:request_id}",
    response={200: RequestView, **failing(404)},
    url_name="request",
    operation_id="read_request",
)
def one(request: HttpRequest, request_id: UUID) -> RequestView:
    """Where a request is, and whether its result is still of what the study holds."""
    row, caller = seen_request(request, request_id)
    row = looked_at(row, archive())
    note_results(caller, [row])
    return RequestView.of(row)


@router.get(
    "/{uuid:request_id}/events",
    response={200: EventList, **failing(404)},
    operation_id="list_request_events",
)
def events(request: HttpRequest, request_id: UUID) -> EventList:
    """What became of a request. Progress within a stage is not kept."""
    row, _caller = seen_request(request, request_id)
    return EventList(
        request_id=row.pk,
        events=[
            EventView(
                version=event.version,
                state=State(event.state),
                at=event.at,
                attempt=event.attempt,
                delivery=event.delivery,
                lab=event.lab,
                failure=failure_of(event.code, by_lab=bool(event.lab)),
            )
            for event in row.events.all()
        ],
    )


def note_results(caller: Caller, rows: Iterable[InferenceRequest]) -> None:
    """Write down that the caller is told the results of these requests."""
    caller.sees_results((row.study_id, row.pk) for row in rows if row.result is not None)
