"""One request, from its delivery to a legal ack: fetch, infer, package, upload, reply."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from consumer.amqp.acks import LegalAck
from consumer.announce import Announcer
from consumer.bundle import Bundle
from consumer.children.segmenter import SegmentationJob
from consumer.errors import (
    LabError,
    ModelUnavailable,
    Reject,
    Retry,
    SeriesNotFound,
    UploadRejected,
    WrongPhaseCount,
)
from consumer.handover import (
    DownloadIndex,
    Measured,
    PackagedPrimary,
    PhaseFiles,
    ResultSpec,
    VolumeHeader,
)
from consumer.memory import MemoryFile
from consumer.run import Held, Run
from messages import identity
from messages.events import (
    InferenceAccepted,
    InferenceCompleted,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    ModelReference,
    Stage,
)
from messages.request import InferenceRequested
from messages.topology import RETRY_TIERS

#: The name of the one archive that this lab's settings hold the URL of.
ARCHIVE = "default"

log = structlog.get_logger(__name__)


class ArchivePort(Protocol):
    """What a job needs of the archive; `consumer.orthanc.Archive` in the lab."""

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile
    ) -> list[tuple[int, int]]:
        """Append all files of a series to `into`: (offset, length) of each."""

    def find_instance(self, sop_instance_uid: str) -> str | None:
        """The archive's id of an instance, if it is stored."""

    def fetch_instance(self, instance_id: str) -> bytes:
        """The stored file."""

    def store(self, dicom: bytes) -> str:
        """Store, or find that the same UID is stored already; the archive's id either way."""


class WorkbenchPort(Protocol):
    """What a job needs of the children; `consumer.children.workbench.Workbench` in the lab."""

    def read(self, source: DownloadIndex, volumes_path: str) -> VolumeHeader:
        """Turn the files into volumes."""

    def segment(self, job: SegmentationJob) -> None:
        """Compute the mask."""

    def package(
        self, source: DownloadIndex, mask_path: str, shape: tuple[int, int, int], spec: ResultSpec
    ) -> PackagedPrimary:
        """Turn the mask into the primary object."""

    def measure(self, stored: bytes, source: DownloadIndex, spec: ResultSpec) -> Measured:
        """Figures, model and report of the primary as it is stored."""


@dataclass(frozen=True)
class Lab:
    """What all jobs of a lab share."""

    name: str
    device: str
    #: Probability from which a voxel counts, where the request names none.
    threshold: float
    bundles: Mapping[str, Bundle]
    archive: ArchivePort
    workbench: WorkbenchPort
    announcer: Announcer

    def handle(self, request: InferenceRequested, held: Held) -> LegalAck:
        """Carry the request to one of its ends and return the reason to acknowledge it.

        Every return happens after the broker has confirmed what the reason promises. Raises
        `LabStopping` when the lab stops first; the delivery then stays the broker's.
        """
        run = Run(request, held=held, lab=self.name)
        with structlog.contextvars.bound_contextvars(
            request_id=str(request.request_id), attempt=request.attempt, delivery=held.count
        ):
            log.info("accepted", action="job.accepted", model=request.model)
            self.announcer.tell(run.event(InferenceAccepted))
            try:
                completed = _Analysis(self, run).complete()
            except Retry as error:
                return self._try_later(run, error)
            except Reject as error:
                return self._fail(run, error)
            self.announcer.tell(completed)
            log.info("completed", action="job.completed", **run.stage_seconds)
            return LegalAck.STORED

    def _try_later(self, run: Run, error: LabError) -> LegalAck:
        """Put a copy into the next tier; when the tiers are spent, fail with this last code."""
        tiers = list(RETRY_TIERS.items())
        if run.request.attempt > len(tiers):
            return self._fail(run, error)
        tier, seconds = tiers[run.request.attempt - 1]
        copy = run.request.model_copy(update={"attempt": run.request.attempt + 1})
        self.announcer.put_into_tier(copy, tier)
        next_at = datetime.now(UTC) + timedelta(seconds=seconds)
        self.announcer.tell(run.event(InferenceRetryScheduled, code=error.code, next_at=next_at))
        log.warning(
            "tried again later", action="job.retry", code=error.code, tier=tier, detail=error.detail
        )
        return LegalAck.RETRY

    def _fail(self, run: Run, error: LabError) -> LegalAck:
        log.error("failed", action="job.failed", code=error.code, detail=error.detail)
        self.announcer.tell(
            run.event(
                InferenceFailed,
                code=error.code,
                detail=error.detail[:500],
                stage_seconds=run.stage_seconds,
            )
        )
        return LegalAck.FAILED


class _Analysis:
    """The work of one run. Everything large lies in memory files and goes with them."""

    def __init__(self, lab: Lab, run: Run) -> None:
        self._lab = lab
        self._run = run
        self._request = run.request
        self._bundle = self._chosen_bundle()
        self._spec = self._result_spec()

    def complete(self) -> InferenceCompleted:
        """Bring the result into the archive, whoever stored it, and say what it holds.

        The primary object has one UID for all runs of the request. If it is there, inference is
        skipped; if another run wins the race to store it, its bytes are read back and ours are
        forgotten. Figures and report come from the stored bytes alone, so they cannot disagree.
        """
        with ExitStack() as memory:
            source = self._download(memory)
            primary_id = self._lab.archive.find_instance(self._spec.primary_instance_uid)
            if primary_id is None:
                packaged = self._infer(memory, source)
                with self._run.timed("upload"):
                    primary_id = self._lab.archive.store(packaged.dicom_bytes)
            else:
                log.info("result is stored already", action="job.skip_inference")
                self._tell_stage(Stage.UPLOADING, 0, 2)
            with self._run.timed("verify"):
                stored = self._lab.archive.fetch_instance(primary_id)
                measured = self._lab.workbench.measure(stored, source, self._spec)
            self._tell_stage(Stage.UPLOADING, 1, 2)
            with self._run.timed("report"):
                report = measured.report
                report_id = self._store_report(report) if report else primary_id
            self._tell_stage(Stage.UPLOADING, 2, 2)
        return self._completed(measured, primary_id, report_id)

    def _chosen_bundle(self) -> Bundle:
        if self._request.archive != ARCHIVE:
            raise SeriesNotFound(f"this lab knows no archive {self._request.archive}")
        bundle = self._lab.bundles.get(self._request.model)
        if bundle is None:
            raise ModelUnavailable(f"this lab serves no model {self._request.model}")
        asked = tuple(item.role for item in self._request.inputs)
        if asked != bundle.descriptor.roles:
            raise WrongPhaseCount(
                f"model {self._request.model} takes {', '.join(bundle.descriptor.roles)}"
            )
        return bundle

    def _result_spec(self) -> ResultSpec:
        request_id, model = self._request.request_id, self._bundle.descriptor
        return ResultSpec(
            request_id=str(request_id),
            lab=self._lab.name,
            model_name=model.name,
            model_version=model.version,
            model_sha256=model.sha256,
            notice=model.notice,
            labels=model.labels,
            primary_series_uid=identity.primary_series_uid(request_id),
            primary_instance_uid=identity.primary_instance_uid(request_id),
            report_series_uid=identity.report_series_uid(request_id),
            report_instance_uid=identity.report_instance_uid(request_id),
        )

    def _download(self, memory: ExitStack) -> DownloadIndex:
        total = sum(item.instance_count for item in self._request.inputs)
        done = 0
        phases = []
        self._tell_stage(Stage.DOWNLOADING, done, total)
        with self._run.timed("download"):
            for item in self._request.inputs:
                file = memory.enter_context(MemoryFile(f"series-{item.role}"))
                files = self._lab.archive.download_series(
                    self._request.study_uid, item.series_uid, file
                )
                selector = item.phase_selector
                phases.append(
                    PhaseFiles(
                        role=item.role,
                        series_uid=item.series_uid,
                        path=file.path,
                        files=tuple(files),
                        instance_count=item.instance_count,
                        selector=(selector.keyword, selector.value) if selector else None,
                    )
                )
                done += item.instance_count
                self._tell_stage(Stage.DOWNLOADING, done, total)
        return DownloadIndex(study_uid=self._request.study_uid, phases=tuple(phases))

    def _infer(self, memory: ExitStack, source: DownloadIndex) -> PackagedPrimary:
        volumes = memory.enter_context(MemoryFile("volumes"))
        mask = memory.enter_context(MemoryFile("mask"))
        with self._run.timed("read"):
            header = self._lab.workbench.read(source, volumes.path)
        self._tell_stage(Stage.INFERRING, 0, 1)
        with self._run.timed("infer"):
            self._lab.workbench.segment(
                SegmentationJob(
                    bundle=self._bundle,
                    device=self._lab.device,
                    volumes_path=volumes.path,
                    mask_path=mask.path,
                    shape=header.shape,
                    affine_lps=header.affine_lps,
                    threshold=self._request.threshold or self._lab.threshold,
                )
            )
        self._tell_stage(Stage.UPLOADING, 0, 2)
        with self._run.timed("package"):
            return self._lab.workbench.package(source, mask.path, header.shape[1:], self._spec)

    def _store_report(self, report: bytes) -> str:
        report_id = self._lab.archive.store(report)
        # An answer is not yet a stored object: read it back before anything is promised.
        if not self._lab.archive.fetch_instance(report_id):
            raise UploadRejected(f"the report {self._spec.report_instance_uid} is stored empty")
        return report_id

    def _completed(self, measured: Measured, primary_id: str, report_id: str) -> InferenceCompleted:
        figures, model = measured.figures, measured.model
        return self._run.event(
            InferenceCompleted,
            seg_instance_id=primary_id if figures.tumor_detected else None,
            sr_instance_id=report_id,
            tumor_detected=figures.tumor_detected,
            volume_voxels=figures.volume_voxels,
            volume_ml=figures.volume_ml,
            longest_diameter_mm=figures.longest_diameter_mm,
            slices=figures.slices,
            slices_with_tumor=figures.slices_with_tumor,
            model=ModelReference(name=model.name, version=model.version, sha256=model.sha256),
            stage_seconds=self._run.stage_seconds,
        )

    def _tell_stage(self, stage: Stage, done: int, total: int) -> None:
        self._lab.announcer.tell(
            self._run.event(InferenceProgressed, stage=stage, done=done, total=total)
        )
