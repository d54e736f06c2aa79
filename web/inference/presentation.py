"""A request as the API answers it and the sockets send it: one form for both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from django.utils import translation
from pydantic import BaseModel, PlainSerializer, WithJsonSchema

from messages.failures import FINAL, text_of
from messages.request import PhaseSelector
from web.inference.models import InferenceRequest
from web.inference.result_state import InputState, ResultState
from web.inference.states import State
from web.inference.supersession import supersession_of
from web.inference.verdict import Decision
from web.one_line import one_line

#: Characters of a lab's own words that a page shows: a sentence or two.
MAX_DETAIL = 300

M = TypeVar("M", bound=BaseModel)

#: Written out here: Django's encoder, which answers the API, would cut what the sockets send.
Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Progress(BaseModel):
    """How far the stage under way is."""

    stage: str
    done: int
    total: int


class Failure(BaseModel):
    """Why there is no result (yet): the code and its sentence in the reader's language."""

    code: str
    reader: str
    #: What a lab found, for whoever looks closer: in English, and without patient data. One line of
    #: its words, `MAX_DETAIL` characters at most.
    detail: str = ""
    #: Whether the same request would end the same way.
    final: bool = False


class Input(BaseModel):
    """Which series, or which phase of it, plays which role."""

    role: str
    series_id: str
    #: Null when the whole series is the phase.
    phase: PhaseSelector | None = None


class Model(BaseModel):
    """What computed the result."""

    name: str
    version: str
    sha256: str


class Result(BaseModel):
    """The figures of the stored result."""

    seg_instance_id: str | None
    sr_instance_id: str
    tumor_detected: bool
    volume_ml: float
    volume_voxels: int
    longest_diameter_mm: float
    slices: int
    slices_with_tumor: int
    model: Model
    #: SHA-256 over UIDs and MD5s of the files that it was computed from; null of results of before.
    input_sha256: str | None = None
    stage_seconds: dict[str, float]


class Withdrawal(BaseModel):
    """That staff have withdrawn the result, and why."""

    at: Moment
    #: In the words of whoever withdrew it.
    reason: str


class RequestView(BaseModel):
    """Everything that a page shows of a request; no patient data."""

    request_id: UUID
    #: Rises with every change, of what came after the result too (`web.inference.supersession`).
    version: int
    state: State
    study_id: str
    pool: str
    model: str
    attempt: int
    created_at: Moment
    published_at: Moment | None
    accepted_at: Moment | None
    finished_at: Moment | None
    next_try_at: Moment | None
    #: When the reader asked to stop. Beside a result: it was stored before a lab heard of it.
    cancel_asked_at: Moment | None
    #: `series_arriving` while its message is held back until the images of the chosen series have
    #: all arrived in the archive; null when nothing but a lab is waited for.
    waits_for: str | None = None
    #: The ended request that this one repeats.
    retry_of: UUID | None
    lab: str
    progress: Progress | None
    failure: Failure | None
    inputs: list[Input]
    result: Result | None
    #: The latest request of the same study and model that has a result, where it came after this.
    #: One whose result was withdrawn replaces nothing.
    superseded_by: UUID | None = None
    #: `accepted` or `rejected`, as the latest reader to say so sees the result.
    verdict: Decision | None = None
    #: What the study holds now of what the result was computed from. Only `same` says that nothing
    #: has changed; `unknown` says nothing.
    input_state: InputState = InputState.UNKNOWN
    #: Whether the archive still holds the result, and whether staff have withdrawn it.
    result_state: ResultState = ResultState.STORED
    withdrawn: Withdrawal | None = None

    @classmethod
    def of(cls, row: InferenceRequest, language: str | None = None) -> Self:
        """Show a row; without `language` in the one that is active."""
        standing = supersession_of(row)
        return cls(
            request_id=row.pk,
            version=row.version + standing.raised,
            state=State(row.state),
            study_id=row.study_id,
            pool=row.pool,
            model=row.model,
            attempt=row.attempt,
            created_at=row.created_at,
            published_at=row.published_at,
            accepted_at=row.accepted_at,
            finished_at=row.finished_at,
            next_try_at=row.next_try_at,
            cancel_asked_at=row.cancel_asked_at,
            waits_for=waits_for(row),
            retry_of=row.retry_of_id,
            lab=row.lab,
            progress=_as_model(Progress, row.progress),
            failure=failure_of(
                row.failure_code,
                language,
                detail=row.failure_detail,
                by_lab=bool(row.lab),
            ),
            inputs=[_input(item) for item in row.inputs],
            result=_as_model(Result, row.result),
            superseded_by=standing.superseded_by,
            verdict=standing.verdict,
            input_state=InputState(row.input_state),
            result_state=ResultState(row.result_state),
            withdrawn=_withdrawal(row),
        )


def waits_for(row: InferenceRequest) -> str | None:
    """What a stored request waits for before it is sent; None once it may be."""
    # A site of an older version, which holds nothing, may have sent it and not cleared this.
    return row.held_for or None if row.state == State.QUEUED else None


def phase_of(stored: Mapping[str, Any]) -> PhaseSelector | None:
    """Which phase of its series an input is, as a row holds it; None for the whole series."""
    return _as_model(PhaseSelector, stored.get("phase_selector"))


def _withdrawal(row: InferenceRequest) -> Withdrawal | None:
    if row.withdrawn_at is None:
        return None
    return Withdrawal(at=row.withdrawn_at, reason=row.withdrawn_reason)


def _input(stored: Mapping[str, Any]) -> Input:
    return Input(role=stored["role"], series_id=stored["series_id"], phase=phase_of(stored))


def _as_model(kind: type[M], value: Any) -> M | None:
    return None if value is None else kind.model_validate(value)


def failure_of(
    code: str, language: str | None = None, *, detail: str = "", by_lab: bool = True
) -> Failure | None:
    """A stored failure code for a reader, or None without one.

    Not final is what no lab has said: the site has, of a request that it held until its images
    were there, and the rest of them may still come.
    """
    if not code:
        return None
    sentence = text_of(code).reader(language or translation.get_language() or "en")
    final = by_lab and code in FINAL
    return Failure(code=code, reader=sentence, detail=_bounded(detail), final=final)


def _bounded(detail: str) -> str:
    """The words of another machine as one line, no longer than a page has room for."""
    words = one_line(detail)
    return words if len(words) <= MAX_DETAIL else words[: MAX_DETAIL - 1].rstrip() + "…"
