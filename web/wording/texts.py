"""What the scripts of the pages say. They hold no text of their own: it comes with the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from messages.failures import FAILURE_TEXTS, FailureCode
from messages.lab import ARCHIVE_AWAY, DRAINING, SERVING
from web.inference.models import InferenceRequest
from web.inference.result_state import CHANGED, ResultState
from web.inference.states import Hold, State
from web.inference.verdict import DECISION_LABELS
from web.wording.results import (
    CURVES_WITHHELD_TEXTS,
    INPUT_TEXTS,
    LATERALITY_TEXTS,
    ORIGIN_TEXTS,
    RESULT_TEXTS,
    SIGNAL_SCALE_TEXTS,
    WASH_OUT_TEXTS,
)

#: One or two words for each state, for the list of studies.
STATE_LABELS = {
    State.QUEUED: _("Stored"),
    State.PUBLISHED: _("Waiting for the lab"),
    State.ACCEPTED: _("Taken by the lab"),
    State.DOWNLOADING: _("Loading images"),
    State.INFERRING: _("Analysing"),
    State.UPLOADING: _("Storing the result"),
    State.REPORTED: _("Checking the result"),
    State.COMPLETED: _("Completed"),
    State.WAITING: _("Will be tried again"),
    State.CANCELLING: _("Being cancelled"),
    State.CANCELLED: _("Cancelled"),
    State.FAILED: _("Failed"),
    State.DEAD: _("Given up"),
}

#: The same for a failure that is more than that: nothing was wrong with the analysis.
END_LABELS: dict[str, Promise] = {
    FailureCode.EXPIRED: _("Expired"),
    FailureCode.DEADLINE_EXCEEDED: _("Took too long"),
}

#: `afterwards_of` a result of which the images are others now.
_CHANGED = "changed"

#: In place of "Completed", of a result that is not what a reader would take it for.
AFTERWARDS: dict[str, Promise] = {
    _CHANGED: _("Images changed"),
    ResultState.GONE: _("Result deleted"),
    ResultState.WITHDRAWN: _("Withdrawn"),
}

#: The way of a request that goes well, in order.
STAGES: tuple[State, ...] = (
    State.QUEUED,
    State.PUBLISHED,
    State.ACCEPTED,
    State.DOWNLOADING,
    State.INFERRING,
    State.UPLOADING,
    State.COMPLETED,
)

_STATUS = {
    State.QUEUED: _("The request is stored."),
    State.PUBLISHED: _("The request is waiting for the lab."),
    State.ACCEPTED: _("The lab has taken the request."),
    State.DOWNLOADING: _("The lab is loading the images."),
    State.INFERRING: _("The images are being analysed."),
    State.UPLOADING: _("The result is being stored in the archive."),
    State.REPORTED: _(
        "The lab has reported a result, which is being looked for in the image archive."
    ),
    State.COMPLETED: _("The analysis is complete."),
    State.WAITING: _("The analysis did not succeed and will be tried again at {time}."),
    State.CANCELLING: _("The request is being cancelled."),
    State.CANCELLED: _("The request was cancelled."),
    State.FAILED: _("The analysis failed."),
    State.DEAD: _("The request was given up."),
}

#: The beginning in place of `State.FAILED`'s; the failure's own sentence follows.
_ENDS = {
    FailureCode.EXPIRED: _("The request has expired."),
    FailureCode.DEADLINE_EXCEEDED: _("The analysis was stopped."),
}

#: What a pool whose labs take no request lets the reader wait for.
_NOT_TAKEN = {
    "offline": _(
        "No lab is online. The request is stored safely and will run as soon as a lab is online."
    ),
    ARCHIVE_AWAY: _(
        "The lab waits for the image archive, which does not answer. The request is stored safely "
        "and will run as soon as the archive answers."
    ),
    DRAINING: _(
        "The lab is in maintenance and takes no new requests. The request is stored safely and "
        "will run afterwards."
    ),
}

#: What holds a stored request back before it is sent (`RequestView.waits_for`).
HELD: dict[str, Promise] = {
    Hold.SERIES_ARRIVING: _(
        "Images of a chosen series are still arriving. The request is stored safely and will be "
        "sent as soon as they have all arrived."
    ),
}

_LABS = {
    SERVING: _("Lab online"),
    "offline": _("No lab online"),
    ARCHIVE_AWAY: _("Lab waits for the archive"),
    DRAINING: _("Lab in maintenance"),
}

#: Whole sentences, since a reason cannot be put into one in every language. These are the codes
#: that a lab tries again (`consumer.errors.Retry`); for any other `State.WAITING`'s follows it.
_NEXT_TRY = {
    FailureCode.ARCHIVE_UNAVAILABLE: _(
        "The next try is at {time}, because the image archive did not answer."
    ),
    FailureCode.OUT_OF_MEMORY: _(
        "The next try is at {time}, because the lab's machine had too little memory."
    ),
    FailureCode.INFERENCE_TIMEOUT: _(
        "The next try is at {time}, because the analysis took too long."
    ),
    FailureCode.WORKER_CRASHED: _(
        "The next try is at {time}, because the analysis program stopped unexpectedly."
    ),
    FailureCode.UPLOAD_REJECTED: _(
        "The next try is at {time}, because the archive did not store the result."
    ),
}

_OTHERS = {
    "no_lab_now": _(
        "No lab is connected at the moment. The request is kept and goes on when one comes."
    ),
    "archive_away_now": _(
        "The image archive does not answer at the moment. The lab keeps the request and goes on "
        "when the archive answers."
    ),
    "draining_now": _("The lab is in maintenance and takes no new requests."),
    "next_try_due": _("The next try is due. The request is waiting for the lab."),
    "no_lab_to_confirm": _(
        "The request is being cancelled. At the moment no lab is connected to confirm it."
    ),
    "too_late": _("Too late to cancel: the result was stored before the lab heard of it."),
    "ask_staff": _("Please tell the administrator. Retry makes a new request."),
    "asking_again": _("The answer did not arrive. Trying again …"),
    "cancel_unclear": _(
        "The answer did not arrive, so it is not known whether the request is being cancelled. "
        "Please press Cancel again."
    ),
    "repeats": _("This repeats the request of {time}."),
    "sending": _("The request is being sent."),
    "looking": _("The answer did not arrive. Looking whether the request was stored …"),
    "refused": _("The request failed."),
    "unclear": _(
        "The answer to the request did not arrive. Please load the page again to see whether it "
        "was stored."
    ),
    "log_in": _("You are no longer logged in. Please load the page again and log in."),
    "interrupted": _(
        "The connection is interrupted. What you see may be out of date; connecting again …"
    ),
    "choose_all": _("Please choose a series for each phase."),
    "same_series": _("The same series and phase is chosen twice."),
    "phases_gone": _(
        "The series of this result have changed: not all of its phases can be shown any more."
    ),
    "by_hand": _("Chosen by you."),
    "in_use": _("Chosen for: {role}"),
    "slice": _("Slice {number} of {total}"),
    "slice_with_tumour": _("Slice {number} of {total}, tumour outlined"),
    "slice_with_marks": _("Slice {number} of {total}, {label} outlined"),
    "image_failed": _("This slice could not be loaded."),
    "series_changed": _("The series has changed since the page was loaded. Please load it again."),
    "outline_failed": _("The outline could not be loaded."),
    "not_clinical": _("Not for clinical use."),
    "found": _("The model marked a possible tumour."),
    "not_found": _("The model found no lesion."),
    "a_region": _("a region"),
    "found_other": _("The model marked: {label}."),
    "not_found_other": _("The model marked nothing."),
    "slices_with_tumour": _("Slices with tumour"),
    "slices_with_marks": _("Marked slices"),
    "of_slices": _("of {total}"),
    "seconds": _("{seconds} s"),
    "minutes": _("{minutes} min {seconds} s"),
    "hours": _("{hours} h {minutes} min"),
    "not_analysed": _("Not analysed"),
}

#: Parts of a run as the lab times them (`stage_seconds`).
_STAGE_TIMES = {
    "download": _("Loading the images"),
    "read": _("Reading the images"),
    "infer": _("Analysis"),
    "package": _("Packaging the result"),
    "upload": _("Storing the result"),
    "verify": _("Checking the stored result"),
    "report": _("Measurement report"),
}


#: What a label of ours marks when it is a tumour: the page speaks of one only then.
_TUMOUR = frozenset({"lesion", "tumor", "tumour"})

_LABELS = {"brain": _("brain")}


def other_than_tumour(labels: Sequence[str]) -> str:
    """What a model marks, in the reader's language; empty for a model that marks tumours."""
    return ", ".join(str(_LABELS.get(one, one)) for one in labels if one not in _TUMOUR)


def label_of(state: str, failure_code: str = "") -> str:
    """One or two words for where a request is."""
    if state == State.FAILED and (ended := END_LABELS.get(failure_code)):
        return str(ended)
    return str(STATE_LABELS[State(state)])


def afterwards_of(row: InferenceRequest) -> str:
    """What became of a result since, as `AFTERWARDS` names it; empty where nothing did."""
    if row.state != State.COMPLETED:
        return ""
    if row.result_state != ResultState.STORED:
        return str(row.result_state)
    return _CHANGED if row.input_state in CHANGED else ""


def label_of_row(row: InferenceRequest) -> str:
    """The same, and of a result what became of it since."""
    after = afterwards_of(row)
    return str(AFTERWARDS[after]) if after else label_of(row.state, row.failure_code)


def page_texts() -> dict[str, object]:
    """Every text that a script shows, in the reader's language."""
    language = get_language() or "en"
    return {
        **_spoken(_OTHERS),
        **_spoken(RESULT_TEXTS),
        "origin": _spoken(ORIGIN_TEXTS),
        "wash_out": _spoken(WASH_OUT_TEXTS),
        "curves_withheld": _spoken(CURVES_WITHHELD_TEXTS),
        "signal_scale": _spoken(SIGNAL_SCALE_TEXTS),
        "laterality": _spoken(LATERALITY_TEXTS),
        "decisions": _spoken(DECISION_LABELS),
        "status": _spoken(_STATUS),
        "ends": _spoken(_ENDS),
        "not_taken": _spoken(_NOT_TAKEN),
        "waits_for": _spoken(HELD),
        "next_try": _spoken(_NEXT_TRY),
        "labs": _spoken(_LABS),
        "labels": {"states": _spoken(STATE_LABELS), "ends": _spoken(END_LABELS)},
        "afterwards": _spoken(AFTERWARDS),
        "input_states": _spoken(INPUT_TEXTS),
        "stage_times": _spoken(_STAGE_TIMES),
        "failures": {code.value: text.reader(language) for code, text in FAILURE_TEXTS.items()},
    }


def _spoken(texts: Mapping[Any, Promise]) -> dict[str, str]:
    return {str(key): str(text) for key, text in texts.items()}


def stage_lines() -> list[tuple[str, str]]:
    """The lines of the list of stages: name and label."""
    return [(stage.value, str(STATE_LABELS[stage])) for stage in STAGES]
