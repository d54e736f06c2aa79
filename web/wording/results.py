"""What the scripts say about a result: its lesions, its origin, and what readers think of it."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from web.inference.result_state import InputState
from web.results.report_details import Laterality, WashOut

#: Under their names in `page.texts`.
RESULT_TEXTS = {
    "report_loading": _("The report is being loaded."),
    "report_failed": _("The report could not be loaded."),
    "measured_as_one": _(
        "This report is of an earlier version. It measures all lesions together, not each."
    ),
    "left_out": _("Marks that are not listed, because they are too small or too many: {count}"),
    "lesions": _("Lesions"),
    "marks": _("Marks"),
    "show_lesion": _("Show no. {number}, slice {slice}"),
    "curve": _("Mean signal by phase. {lesions}"),
    "curve_of": _("Lesion {number}: {values}."),
    "curve_point": _("Lesion {number}, {phase}: {value}"),
    "curve_point_at": _("Lesion {number}, {phase} ({seconds} s): {value}"),
    "curve_in_seconds": _("Mean signal; time in seconds after the first phase"),
    "curve_by_phase": _("Mean signal by phase; the images do not tell the times"),
    "curves_of_largest": _("Drawn are the {count} largest lesions."),
    "withdrawn": _("This result was withdrawn on {time}. Reason: {reason}"),
    "gone": _("The stored result is no longer in the archive."),
    "not_stated": _("Not stated"),
    "not_verified": _("Not verified by a person"),
    "verified": _("Verified in the archive"),
    "superseded_short": _("Replaced by a later one"),
    "shown_now": _("Shown now"),
    "earlier_failed": _("The earlier results could not be loaded."),
    "no_earlier": _("There is no other result of this study."),
    "no_verdict": _("No reader has accepted or rejected this result yet."),
    "verdict_by": _("{decision} by {reader}, {time}"),
    "verdict_unknown_reader": _("{decision}, {time}"),
    "verdicts_failed": _("What readers said of this result could not be loaded."),
    "reason_missing": _("Please say why the result is rejected."),
    "comment_missing": _("Please write the comment."),
    "verdict_sending": _("The verdict is being stored."),
    "verdict_stored": _("The verdict is stored."),
    "verdict_unclear": _(
        "The answer did not arrive, so it is not known whether the verdict was stored. Please "
        "press the same button again."
    ),
}

#: What the study holds now of the images that were analysed.
INPUT_TEXTS = {
    InputState.SAME: _("Unchanged since the analysis"),
    InputState.UNKNOWN: _("Not known whether they have changed since the analysis"),
    InputState.MORE: _(
        "The study now holds more images of these series than were analysed. This result does not "
        "take them into account."
    ),
    InputState.FEWER: _(
        "The study now holds fewer images of these series than were analysed. This result is also "
        "of images that are no longer there."
    ),
    InputState.REPLACED: _(
        "Images of these series have been replaced since the analysis. This result is of the "
        "earlier ones."
    ),
    InputState.DELETED: _(
        "A series that was analysed is no longer in this study. This result is of images that are "
        "no longer there."
    ),
}

#: What the report states of where the result comes from.
ORIGIN_TEXTS = {
    "model": _("Model"),
    "bundle": _("Bundle (SHA-256)"),
    "weights": _("Weights {file} (SHA-256)"),
    "phase": _("Series: {phase}"),
    "threshold": _("Threshold"),
    "smallest": _("Smallest mark kept"),
    "mm3": _("{value} mm³"),
    "lab": _("Lab"),
    "device": _("Device"),
    "labrelay": _("Labrelay version"),
    "created": _("Computed at"),
    "signal_scale": _("Signal of the phases"),
    "status": _("Status"),
    "report": _("Report"),
    "input": _("Input (SHA-256)"),
    "replaces": _("Replaces the report"),
}

#: Why a report states no curves, by its code.
CURVES_WITHHELD_TEXTS = {
    "different_scales": _(
        "No curves are stated: the phases are stored on different scales, and the images do not "
        "say by how much."
    ),
}

#: On which scale the signal of the phases was compared, by its code.
SIGNAL_SCALE_TEXTS = {
    "first_phase": _("Brought to the scale of the first phase"),
    "different": _("Different scales, not known by how much"),
}

#: By side of a lesion of the breast.
LATERALITY_TEXTS = {
    Laterality.LEFT: _("Left breast"),
    Laterality.RIGHT: _("Right breast"),
    Laterality.NOT_DETERMINED: _("Not determined"),
    Laterality.NOT_STATED: _("Not stated"),
}

#: By type of curve.
WASH_OUT_TEXTS = {
    WashOut.PERSISTENT: _("Persistent"),
    WashOut.PLATEAU: _("Plateau"),
    WashOut.WASHOUT: _("Wash-out"),
}
