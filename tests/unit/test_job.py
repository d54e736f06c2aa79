"""The job alone, with recording fakes: in which order it speaks, and what it ends in."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from consumer.amqp.acks import LegalAck
from consumer.children.segmenter import SegmentationJob
from consumer.errors import (
    ArchiveUnavailable,
    DeadlineExceeded,
    GeometryMismatch,
    InferenceTimeout,
    LabError,
    ModelUnavailable,
    OutOfMemory,
    PhasesOutOfOrder,
    RequestCancelled,
    ResultMisfiled,
    SeriesChanged,
    SeriesNotFound,
    TooLarge,
    UnreadableDicom,
    UnsupportedImage,
    UploadRejected,
    WorkerCrashed,
    WrongPhaseCount,
)
from consumer.stop_conditions import StopConditions
from messages import identity
from messages.envelope import Message
from messages.events import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
    RunEvent,
)
from messages.failures import FailureCode
from messages.request import InferenceRequested, PhaseSelector
from tests.unit.job_bench import ORTHANC_ID, Bench, Once, request


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_completed_is_told_last_and_holds_what_was_measured_on_the_stored_bytes(
    bench: Bench,
) -> None:
    assert bench.job().handle(request(), Once()) is LegalAck.STORED
    assert bench.workbench.calls == ["read", "segment at 0.5", "package", "measure b'SEG'"]
    assert isinstance(bench.last, InferenceCompleted)
    assert bench.last.volume_voxels == 5
    assert bench.last.model.version == "0.0.2 of another lab"
    assert bench.last.seg_instance_id != bench.last.sr_instance_id


def test_the_threshold_of_the_request_beats_that_of_the_lab(bench: Bench) -> None:
    bench.job().handle(request(threshold=0.9), Once())
    assert "segment at 0.9" in bench.workbench.calls


def test_the_end_is_told_under_the_delivery_that_is_in_hand_then(bench: Bench) -> None:
    held = Once()

    def reconnect(job: SegmentationJob, stop_conditions: StopConditions) -> None:
        held.count = 2

    bench.workbench.segment = reconnect  # type: ignore[method-assign]
    bench.job().handle(request(), held)
    told = [m for _, _, m in bench.sender.sent if isinstance(m, RunEvent)]
    assert [m.delivery for m in told] == [0, 2]
    assert told[0].sequence < told[-1].sequence


def test_a_stored_primary_is_measured_and_not_computed_again(bench: Bench) -> None:
    bench.archive.holds(b"theirs")
    bench.job().handle(request(), Once())
    assert bench.workbench.calls == ["measure b'theirs'"]


@pytest.mark.parametrize(
    ("attempt", "tier"),
    [(1, "mri.retry.lab.30s"), (2, "mri.retry.lab.2m"), (3, "mri.retry.lab.10m")],
)
def test_a_passing_fault_puts_a_copy_into_the_next_tier_before_it_is_told(
    bench: Bench, attempt: int, tier: str
) -> None:
    bench.fails["store"] = ArchiveUnavailable("down")
    asked = request(attempt=attempt)
    assert bench.job().handle(asked, Once()) is LegalAck.RETRY
    exchange, key, copy = bench.sender.sent[-2]
    assert (exchange, key) == (tier, "lab.held")
    assert copy == asked.model_copy(update={"attempt": attempt + 1, "retries": attempt})
    assert isinstance(bench.last, InferenceRetryScheduled)
    assert bench.last.code is FailureCode.ARCHIVE_UNAVAILABLE


def test_what_a_rule_asked_for_waits_where_it_comes_back_to_the_rules(bench: Bench) -> None:
    bench.fails["store"] = ArchiveUnavailable("down")
    assert bench.job().handle(request(by_rule=True), Once()) is LegalAck.RETRY
    assert bench.sender.sent[-2][:2] == ("mri.retry.lab.30s", "rules.lab.held")


def test_after_the_last_tier_the_request_fails_with_the_last_code(bench: Bench) -> None:
    bench.fails["store"] = UploadRejected("full")
    assert bench.job().handle(request(attempt=4), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.UPLOAD_REJECTED


def test_a_request_sent_again_at_a_high_attempt_has_its_whole_budget(bench: Bench) -> None:
    bench.fails["store"] = ArchiveUnavailable("down")
    asked = request(attempt=7, retries=0)
    tiers = []
    while bench.job().handle(asked, Once()) is LegalAck.RETRY:
        tier, _, copy = bench.sender.sent[-2]
        assert isinstance(copy, InferenceRequested)
        assert (copy.attempt, copy.retries) == (asked.attempt + 1, asked.spent + 1)
        tiers.append(tier)
        asked = copy
    assert tiers == ["mri.retry.lab.30s", "mri.retry.lab.2m", "mri.retry.lab.10m"]
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.attempt == 10


@pytest.mark.parametrize(
    ("error", "end"),
    [(GeometryMismatch("slice 3"), InferenceFailed), (RequestCancelled("so"), InferenceCancelled)],
)
def test_an_end_is_told_again_when_the_work_came_back_before_it_was_confirmed(
    bench: Bench, error: Exception, end: type[RunEvent]
) -> None:
    """Another lab may have told `accepted` in between: the older end would be out of date."""
    held = Once()
    bench.fails["read"] = error

    def given_again(message: Message) -> None:
        if isinstance(message, end) and held.count < 2:
            held.count = 2

    bench.sender.on_sent = given_again
    bench.job().handle(request(), held)
    ends = [m for _, _, m in bench.sender.sent if isinstance(m, end)]
    assert [m.delivery for m in ends] == [0, 2]
    assert len({m.event_id for m in ends}) == 2


@pytest.mark.parametrize(
    ("prepare", "changes", "code"),
    [
        (lambda b: None, {"archive": "elsewhere"}, FailureCode.SERIES_NOT_FOUND),
        (lambda b: None, {"model": "other"}, FailureCode.MODEL_UNAVAILABLE),
        (lambda b: None, {"inputs": request().inputs[:3]}, FailureCode.WRONG_PHASE_COUNT),
        (
            lambda b: b.fails.update(read=GeometryMismatch("slice 3")),
            {},
            FailureCode.GEOMETRY_MISMATCH,
        ),
    ],
)
def test_a_lasting_fault_fails_at_once(
    bench: Bench, prepare: Callable[[Bench], None], changes: dict[str, object], code: FailureCode
) -> None:
    prepare(bench)
    assert bench.job().handle(request(**changes), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is code
    assert len(bench.sender.sent) == 2, "accepted and failed, nothing else"


@pytest.mark.parametrize(
    "error",
    [ArchiveUnavailable, OutOfMemory, InferenceTimeout, UploadRejected, WorkerCrashed],
)
def test_every_passing_error_goes_into_a_tier(bench: Bench, error: type[LabError]) -> None:
    bench.fails["segment"] = error("once")
    assert bench.job().handle(request(), Once()) is LegalAck.RETRY
    assert isinstance(bench.last, InferenceRetryScheduled)
    assert bench.last.code is error.code


@pytest.mark.parametrize(
    "error",
    [
        SeriesNotFound,
        SeriesChanged,
        WrongPhaseCount,
        PhasesOutOfOrder,
        GeometryMismatch,
        UnreadableDicom,
        UnsupportedImage,
        TooLarge,
        ModelUnavailable,
        DeadlineExceeded,
    ],
)
def test_every_lasting_error_fails(bench: Bench, error: type[LabError]) -> None:
    bench.fails["read"] = error("for good")
    assert bench.job().handle(request(), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is error.code


def test_nothing_is_stored_for_a_series_that_was_deleted_in_the_inference(bench: Bench) -> None:
    wanted = request()
    bench.archive.deleted = {wanted.inputs[-1].series_uid}
    assert bench.job().handle(wanted, Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.SERIES_NOT_FOUND
    assert not bench.archive.objects


def test_a_series_of_too_many_instances_is_refused_before_its_download(bench: Bench) -> None:
    wanted = request()
    bench.max_series_instances = wanted.inputs[0].instance_count - 1
    assert bench.job().handle(wanted, Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.TOO_LARGE
    assert "download" not in bench.steps


def test_several_phases_of_one_series_are_downloaded_once(bench: Bench) -> None:
    wanted = request()
    first = wanted.inputs[0]
    selectors = [PhaseSelector(keyword="AcquisitionNumber", value=str(n)) for n in range(1, 5)]
    inputs = tuple(
        first.model_copy(update={"role": item.role, "phase_selector": selector})
        for item, selector in zip(wanted.inputs, selectors, strict=True)
    )
    one = wanted.model_copy(update={"inputs": inputs})
    assert bench.job().handle(one, Once()) is LegalAck.STORED
    assert bench.steps.count("download") == 1


def test_the_series_of_a_request_are_bounded_together(bench: Bench) -> None:
    # Each of the bench's series has four bytes.
    bench.max_request_bytes = 15
    assert bench.job().handle(request(), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.TOO_LARGE
    assert bench.steps.count("download") == 4
    assert "read" not in bench.steps
    bench.max_request_bytes = 16
    assert bench.job().handle(request(), Once()) is LegalAck.STORED


@pytest.mark.parametrize(
    "values",
    [("1", "1", "3", "4"), ("1", "2", "3", "3.0"), (None, "2", "3", "4"), (None,) * 4],
)
def test_one_phase_is_not_taken_for_two(bench: Bench, values: tuple[str | None, ...]) -> None:
    wanted = request()
    inputs = tuple(
        wanted.inputs[0].model_copy(
            update={
                "role": item.role,
                "phase_selector": value
                and PhaseSelector(keyword="TemporalPositionIdentifier", value=value),
            }
        )
        for item, value in zip(wanted.inputs, values, strict=True)
    )
    one = wanted.model_copy(update={"inputs": inputs})
    assert bench.job().handle(one, Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.WRONG_PHASE_COUNT
    assert "download" not in bench.steps


def test_key_slices_are_stored_and_read_back_after_the_report_and_before_completed(
    bench: Bench,
) -> None:
    bench.key_slices = 2
    asked = request()
    told_at: list[int] = []

    def listen(message: Message) -> None:
        if isinstance(message, InferenceCompleted):
            told_at.append(len(bench.steps))

    bench.sender.on_sent = listen
    assert bench.job().handle(asked, Once()) is LegalAck.STORED
    pictures = [
        f"SC {identity.key_instance_uid(asked.request_id, number)}".encode() for number in (1, 2)
    ]
    assert list(bench.archive.objects.values()) == [b"SEG", b"SR", *pictures]
    upload = ["store", "fetch", "measure", *["store", "fetch"] * 3]
    assert bench.steps[-len(upload) :] == upload
    assert told_at == [len(bench.steps)]


def test_a_key_slice_that_is_not_stored_is_no_success(bench: Bench) -> None:
    bench.key_slices = 1

    def full(step: str) -> None:
        if step == "store" and len(bench.archive.objects) == 2:
            raise UploadRejected("full")

    bench.hook = full
    assert bench.job().handle(request(), Once()) is LegalAck.RETRY
    assert InferenceCompleted not in bench.told


@pytest.mark.parametrize("which", ["primary", "report", "key slice"])
def test_whatever_the_archive_files_in_another_study_ends_the_request(
    bench: Bench, which: str
) -> None:
    bench.key_slices = 1
    before = ["primary", "report", "key slice"].index(which)
    misfiled = ResultMisfiled("the archive filed instance x in another study")

    def elsewhere(step: str) -> None:
        if step == "store" and len(bench.archive.objects) == before:
            raise misfiled

    bench.hook = elsewhere
    # Permanent, and the lab deletes nothing.
    assert bench.job().handle(request(), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.RESULT_MISFILED
    assert len(bench.archive.objects) == before


def test_a_series_that_went_into_another_study_while_it_was_read_is_no_input_any_more(
    bench: Bench,
) -> None:
    def move(step: str) -> None:
        if step == "package":
            bench.archive.study_id = ORTHANC_ID.format(8)

    bench.hook = move
    assert bench.job().handle(request(), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.SERIES_NOT_FOUND
    assert not bench.archive.objects


def test_the_voxels_that_were_read_serve_the_curves_and_a_redelivery_has_none(
    bench: Bench,
) -> None:
    bench.job().handle(request(), Once())
    assert bench.workbench.measured_from is not None
    _, volumes = bench.workbench.measured_from
    assert volumes is not None
    assert volumes.header.roles == ("pre", "post1", "post2", "last")

    bench.archive.holds(b"theirs")
    bench.job().handle(request(), Once())
    assert bench.workbench.measured_from[1] is None


@pytest.mark.parametrize("kind", ["report", "primary"])
def test_the_report_of_the_superseded_request_goes_to_whoever_writes_the_new_one(
    bench: Bench, kind: str
) -> None:
    older = uuid4()
    derived = getattr(identity, f"{kind}_instance_uid")
    bench.archive.uid_of = lambda dicom: derived(older) if dicom == b"older" else dicom
    bench.archive.store(b"older", study_id=bench.archive.study_id, check_stop=lambda: None)
    bench.job().handle(request(supersedes=older), Once())
    assert bench.workbench.measured_from is not None
    assert bench.workbench.measured_from[0].predecessor == b"older"


def test_a_superseded_result_that_is_gone_or_copied_holds_nothing_up(bench: Bench) -> None:
    assert bench.job().handle(request(supersedes=uuid4()), Once()) is LegalAck.STORED
    assert bench.workbench.measured_from is not None
    assert bench.workbench.measured_from[0].predecessor is None

    find = bench.archive.find_instance
    older = uuid4()
    names = {identity.report_instance_uid(older), identity.primary_instance_uid(older)}

    def copied(uid: str, study_id: str, *, check_stop: Callable[[], None]) -> str | None:
        if uid in names:
            raise UploadRejected("the study holds 2 objects")
        return find(uid, study_id, check_stop=check_stop)

    bench.archive.find_instance = copied  # type: ignore[method-assign]
    assert bench.job().handle(request(supersedes=older), Once()) is LegalAck.STORED


def test_a_result_states_the_settings_that_made_it(bench: Bench) -> None:
    asked = request(threshold=0.8)
    bench.job().handle(asked, Once())
    assert bench.workbench.measured_from is not None
    made_by = bench.workbench.measured_from[0]
    assert (made_by.threshold, made_by.min_lesion_mm3, made_by.device) == (0.8, 10.0, "cpu")
    assert made_by.key_series_uid == identity.key_series_uid(asked.request_id)
    assert made_by.key_instance_uids == ()
