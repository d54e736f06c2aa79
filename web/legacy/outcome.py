"""A request in the words of the old interface."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView, Result
from web.inference.result_state import ResultState
from web.inference.states import State
from web.inference.withdraw import withdrawal_of
from web.legacy.answers import Answer, error_answer
from web.wording.texts import HELD

#: The states behind each status of the old interface. Every state is in one of them.
STATES: dict[str, tuple[State, ...]] = {
    "pending": (State.QUEUED, State.PUBLISHED, State.WAITING),
    "processing": (
        State.ACCEPTED,
        State.DOWNLOADING,
        State.INFERRING,
        State.UPLOADING,
        State.REPORTED,
        State.CANCELLING,
    ),
    "completed": (State.COMPLETED,),
    "failed": (State.FAILED, State.CANCELLED, State.DEAD),
}

_STATUS = {state: status for status, states in STATES.items() for state in states}

#: The result of a request that has none.
_NO_FIGURES: dict[str, Any] = {
    "success": False,
    "seg_instance_id": None,
    "tumor_detected": None,
    "tumor_volume_voxels": None,
    "elapsed_time_seconds": None,
}

#: Who computed the result, by pool.
_PROCESSED_BY = {"lab": "local_worker"}


def outcome(row: InferenceRequest, series_id: str) -> Answer | None:
    """What a waiting call is told, or None while the request goes on."""
    view = RequestView.of(row)
    if view.withdrawn is not None:
        return withdrawn(row)
    if view.result is not None:
        return 200, _success(view, view.result, series_id)
    if _STATUS[view.state] == "failed":
        return error_answer(500, failure(view), request_id=str(view.request_id))
    return None


def withdrawn(row: InferenceRequest) -> Answer:
    """What every call is told of a result that staff have withdrawn.

    No success any more: the old front end shows what it is given without reading on. 410, as for
    the calls that are gone: it was there, and asking again brings nothing else.
    """
    why = withdrawal_of(row)
    body = {**_common(row), "result": {**_NO_FIGURES, "error": str(why.message)}}
    return error_answer(why.status, str(why.message), **body)


def timed_out(request_id: UUID | None) -> Answer:
    """What a call is told that has waited long enough; the request goes on.

    Without an id its request was not even taken, and may still be: an archive that hangs.
    """
    if request_id is None:
        sentence = _("The request could not be taken in time. It may still be analysed.")
        return error_answer(504, sentence, request_id=None, status="timeout")
    sentence = _(
        "The result did not come in time. The analysis goes on, and its result will be stored."
    )
    return error_answer(504, sentence, request_id=str(request_id), status="timeout")


def stopped(request_id: UUID | None) -> Answer:
    """What a call is told when the site stops; a request that was taken goes on."""
    if request_id is None:
        return error_answer(
            503, _("The server is restarting. The request may not have been taken.")
        )
    sentence = _("The server is restarting. The analysis goes on, and its result will be stored.")
    return error_answer(503, sentence, request_id=str(request_id))


def listed(row: InferenceRequest) -> dict[str, Any]:
    """One line of the list of requests."""
    return _common(row) | {"has_result": row.result is not None and row.withdrawn_at is None}


def described(row: InferenceRequest) -> dict[str, Any]:
    """One request: its status, a sentence, and its result or its failure once it has ended."""
    view = RequestView.of(row)
    status = _STATUS[view.state]
    held = HELD.get(view.waits_for or "")
    sentences = {
        "pending": str(held) if held else _("The request is waiting for the lab."),
        "processing": _("The images are being analysed."),
        "completed": _("The analysis is complete."),
    }
    sentence = sentences.get(status) or failure(view)
    if view.result is not None and view.result_state is ResultState.GONE:
        sentence = _("The stored result is no longer in the archive.")
    body = {"success": True, **_common(row), "message": sentence}
    if status in {"completed", "failed"}:
        body["result"] = _result(view)
    return body


def failure(view: RequestView) -> str:
    """Why there is no result, as a sentence."""
    if view.state is State.CANCELLED:
        return _("The request was cancelled.")
    return view.failure.reader if view.failure else _("The analysis failed.")


def _success(view: RequestView, result: Result, series_id: str) -> dict[str, Any]:
    return {
        "success": True,
        "series_id": series_id,
        "request_id": str(view.request_id),
        "tumor_detected": result.tumor_detected,
        "tumor_volume_voxels": result.volume_voxels,
        "seg_instance_id": result.seg_instance_id,
        "elapsed_time_seconds": elapsed(view, result),
        "saved_to_orthanc": True,
        "processed_by": _PROCESSED_BY.get(view.pool, "server"),
        "successful_slices": result.slices if result.tumor_detected else 0,
        "total_slices": result.slices,
    }


def elapsed(view: RequestView, result: Result) -> float:
    """Seconds that the run took from the download to the stored result, to the millisecond.

    The old front end calls them the time of the inference: what a request waited for a lab is
    not part of them. Where no lab has timed its stages, they are the site's own, from when it heard
    that the request was taken; never the difference of two times by a lab's clock.
    """
    if result.stage_seconds:
        return round(sum(result.stage_seconds.values()), 3)
    if view.accepted_at is None or view.finished_at is None:
        return 0.0
    return round(max(0.0, (view.finished_at - view.accepted_at).total_seconds()), 3)


def status_of(row: InferenceRequest) -> str:
    """One of `STATES`; a result that was withdrawn is none."""
    return "failed" if row.withdrawn_at is not None else _STATUS[State(row.state)]


def in_status(rows: QuerySet[InferenceRequest], status: str) -> QuerySet[InferenceRequest]:
    """The requests of one of `STATES`, as `status_of` has it."""
    wanted = Q(state__in=STATES[status])
    if status == "failed":
        return rows.filter(wanted | Q(withdrawn_at__isnull=False))
    return rows.filter(wanted, withdrawn_at=None)


def _common(row: InferenceRequest) -> dict[str, Any]:
    user = row.requested_by
    return {
        "request_id": str(row.pk),
        "status": status_of(row),
        "requested_at": row.created_at.isoformat(),
        "started_at": row.accepted_at and row.accepted_at.isoformat(),
        "completed_at": row.finished_at and row.finished_at.isoformat(),
        "series_ids": [item["series_id"] for item in row.inputs],
        "requested_by": user.get_username() if user else "anonymous",
    }


def _result(view: RequestView) -> dict[str, Any]:
    result = view.result
    return {
        "success": result is not None,
        "seg_instance_id": result and result.seg_instance_id,
        "tumor_detected": result and result.tumor_detected,
        "tumor_volume_voxels": result and result.volume_voxels,
        "elapsed_time_seconds": result and elapsed(view, result),
        "error": None if result else failure(view),
    }
