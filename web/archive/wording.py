"""What the scripts of the pages say. They hold no text of their own: it comes with the page."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from messages.failures import FAILURE_TEXTS
from web.inference.states import State

#: One or two words for each state, for the list of studies.
STATE_LABELS = {
    State.QUEUED: _("Stored"),
    State.PUBLISHED: _("Waiting for the lab"),
    State.ACCEPTED: _("Taken by the lab"),
    State.DOWNLOADING: _("Loading images"),
    State.INFERRING: _("Analysing"),
    State.UPLOADING: _("Storing the result"),
    State.COMPLETED: _("Completed"),
    State.WAITING: _("Will be tried again"),
    State.CANCELLING: _("Being cancelled"),
    State.CANCELLED: _("Cancelled"),
    State.FAILED: _("Failed"),
    State.DEAD: _("Stopped"),
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
    State.COMPLETED: _("The analysis is complete."),
    State.WAITING: _("The analysis did not succeed and will be tried again at {time}."),
    State.CANCELLING: _("The request is being cancelled."),
    State.CANCELLED: _("The request was cancelled."),
    State.FAILED: _("The analysis failed."),
    State.DEAD: _("The request was stopped. Please tell the administrator."),
}

_OTHERS = {
    "no_lab": _(
        "No lab is online. The request is stored safely and will run as soon as a lab is online."
    ),
    "no_lab_now": _(
        "No lab is connected at the moment. The request is kept and goes on when one comes."
    ),
    "no_lab_cancelling": _("No lab is connected at the moment."),
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
    "lab_online": _("Lab online"),
    "lab_offline": _("No lab online"),
    "choose_all": _("Please choose a series for each phase."),
    "same_series": _("The same series is chosen for two phases."),
    "out_of_order": _("The phases are not in the order of their acquisition times."),
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


def page_texts() -> dict[str, object]:
    """Every text that a script shows, in the reader's language."""
    language = get_language() or "en"
    return {
        **{key: str(text) for key, text in _OTHERS.items()},
        "status": {state.value: str(text) for state, text in _STATUS.items()},
        "states": {state.value: str(text) for state, text in STATE_LABELS.items()},
        "stage_times": {stage: str(text) for stage, text in _STAGE_TIMES.items()},
        "failures": {code.value: text.reader(language) for code, text in FAILURE_TEXTS.items()},
    }


def stage_lines() -> list[tuple[str, str]]:
    """The lines of the list of stages: name and label."""
    return [(stage.value, str(STATE_LABELS[stage])) for stage in STAGES]
