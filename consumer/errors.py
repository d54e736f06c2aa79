"""What can go wrong in a job. The base class *is* the ack decision.

LabError
├── Retry                  passing: a copy of the request goes to a retry tier
│   ├── ArchiveUnavailable
│   ├── OutOfMemory
│   ├── InferenceTimeout
│   ├── UploadRejected
│   └── WorkerCrashed
└── Reject                 permanent: ``failed`` is sent at once
    ├── SeriesNotFound
    ├── SeriesChanged
    ├── WrongPhaseCount
    ├── PhasesOutOfOrder
    ├── GeometryMismatch
    ├── UnreadableDicom
    ├── UnsupportedImage
    ├── MissingAttribute
    ├── MixedPhase
    ├── TooLarge
    ├── ModelUnavailable
    ├── ModelFailed
    ├── ResultMisfiled
    └── DeadlineExceeded

Two stand beside the tree, because nothing went wrong:

LabStopping                nothing may be settled: the delivery goes back
RequestCancelled           ``cancelled`` is sent, and the delivery is acknowledged

An `ArchiveUnavailable` spends an attempt only if the archive answers its probe: otherwise the
job waits for it (`consumer.orthanc.archive_watch`).

Every error holds one sentence, and at most the name of a class for the log, so that it survives the
way from a child process.
``expired`` and ``series_incomplete`` have no class: the web alone decides them.
"""

from __future__ import annotations

from typing import ClassVar

from messages.failures import FailureCode


class LabError(Exception):
    """Base of all errors of a job; raise a concrete one.

    ``detail`` goes to logs and messages. It quotes UIDs, Orthanc ids, roles, slice numbers,
    distances and sizes, and never another DICOM value or a library's text that may hold one.
    """

    #: Sent in ``failed`` and ``retry_scheduled``.
    code: ClassVar[FailureCode]

    def __init__(self, detail: str, *, raised: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        #: The class of what foreign code raised, for the log alone: a reader is shown the detail.
        self.raised = raised


class LabStopping(Exception):
    """The lab is stopping. Leave the delivery unsettled: the broker gives it to the next."""


class RequestCancelled(Exception):
    """The reader cancelled the request. Stop its work, send ``cancelled`` and acknowledge."""


class Retry(LabError):
    """Passing. Put a copy into the next retry tier; when the tiers are spent, send ``failed``."""


class Reject(LabError):
    """Permanent. Send ``failed`` with the code; a later try would end the same way."""


class ArchiveUnavailable(Retry):
    """The archive refused, timed out, broke off or answered 5xx. Ask the archive watch first."""

    code = FailureCode.ARCHIVE_UNAVAILABLE


class OutOfMemory(Retry):
    """The inference found too little memory. Let it try again: a neighbour may have held it."""

    code = FailureCode.OUT_OF_MEMORY


class InferenceTimeout(Retry):
    """The inference passed its limit and its child was killed. Let another machine try."""

    code = FailureCode.INFERENCE_TIMEOUT


class WorkerCrashed(Retry):
    """A child process died. The pool starts a fresh one; let the request try again."""

    code = FailureCode.WORKER_CRASHED


class SeriesNotFound(Reject):
    """The archive has no such series. Tell the reader that it was deleted."""

    code = FailureCode.SERIES_NOT_FOUND


class SeriesChanged(Reject):
    """The series holds other instances than when it was asked for. The reader asks again."""

    code = FailureCode.SERIES_CHANGED


class WrongPhaseCount(Reject):
    """The inputs are not the roles that the model needs. The reader chooses others."""

    code = FailureCode.WRONG_PHASE_COUNT


class PhasesOutOfOrder(Reject):
    """The acquisition times contradict the roles. The reader chooses others."""

    code = FailureCode.PHASES_OUT_OF_ORDER


class GeometryMismatch(Reject):
    """The slices are no regular volume, or the phases lie on different grids."""

    code = FailureCode.GEOMETRY_MISMATCH


class UnreadableDicom(Reject):
    """A file is no DICOM, is cut short, lacks what a volume needs or cannot be decoded."""

    code = FailureCode.UNREADABLE_DICOM


class UnsupportedImage(Reject):
    """Readable, but no MR image in grey and without loss. The reader chooses another series."""

    code = FailureCode.UNSUPPORTED_IMAGE


class MissingAttribute(Reject):
    """An attribute that a volume needs is absent. Name it, and the slice that lacks it."""

    code = FailureCode.MISSING_ATTRIBUTE


class MixedPhase(Reject):
    """The slices of a phase are of several acquisitions or kinds. Name the attribute and slice."""

    code = FailureCode.MIXED_PHASE


class TooLarge(Reject):
    """A limit of the lab on bytes or voxels was passed. An operator may raise the limit."""

    code = FailureCode.TOO_LARGE


class ModelUnavailable(Reject):
    """The lab does not serve the model, or cannot load its bundle, in a fresh process neither."""

    code = FailureCode.MODEL_UNAVAILABLE


class ModelFailed(Reject):
    """The bundle does not answer as its metadata say, or raised on this input.

    What raises is tried once more in a fresh process first (`Workbench.segment`): a device whose
    state is broken raises in every later call of its process.
    """

    code = FailureCode.MODEL_FAILED


class ResultMisfiled(Reject):
    """The archive filed an object in another study. Labs delete nothing: the site removes it."""

    code = FailureCode.RESULT_MISFILED


class UploadRejected(Retry):
    """The archive answered and did not take the result, or holds a foreign object under its UID.

    Mostly a filter, a quota or a right that an operator can mend while the request waits.
    """

    code = FailureCode.UPLOAD_REJECTED


class DeadlineExceeded(Reject):
    """The request took longer than it may. Stop it and say so."""

    code = FailureCode.DEADLINE_EXCEEDED
