"""The work of one run: fetch, infer, package, upload, and read back what is stored."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import structlog

from consumer.bundle import Bundle
from consumer.children.segmenter import SegmentationJob
from consumer.errors import (
    ModelUnavailable,
    SeriesNotFound,
    TooLarge,
    UploadRejected,
    WrongPhaseCount,
)
from consumer.jobs.lab import Lab
from consumer.jobs.run import Run
from consumer.jobs.specification import older_report, spec_of
from consumer.memory import MemoryFile, SeriesMemory
from consumer.payloads import (
    DownloadIndex,
    Measured,
    PackagedPrimary,
    PhaseFiles,
    Volumes,
)
from messages.events import InferenceCompleted, InferenceProgressed, ModelReference, Stage
from messages.phases.values import same_value
from messages.request import InputSeries, PhaseSelector

#: The name of the one archive that this lab's settings hold the URL of.
ARCHIVE = "default"

log = structlog.get_logger(__name__)


class Analysis:
    """The work of one run. Everything large lies in memory files and goes with them.

    A lab's delivery is one caller, a run by hand (`consumer.manual.command`) the other. Raises
    `Reject` at once when the request does not fit what the lab serves.
    """

    def __init__(self, lab: Lab, run: Run) -> None:
        self._lab = lab
        self._run = run
        self._request = run.request
        self._bundle = self._chosen_bundle()
        self._spec = spec_of(self._request, self._bundle, lab)
        #: All that is reported of the stored primary; None before `complete` has read it back.
        self.measured: Measured | None = None

    def complete(self) -> InferenceCompleted:
        """Bring the result into the archive, whoever stored it, and say what it holds.

        The primary object has one UID for all runs of the request. If it is there, inference is
        skipped; if another run wins the race to store it, its bytes are read back and ours are
        forgotten. Figures and report come from the stored bytes alone, so they cannot disagree.
        """
        check_stop = self._run.stop_conditions.check
        volumes: Volumes | None = None
        with ExitStack() as memory:
            source = self._download(memory)
            study_id = self._study_id()
            older = older_report(self._request, self._lab.archive, study_id, check_stop)
            self._spec = replace(self._spec, predecessor=older)
            primary_id = self._lab.archive.find_instance(
                self._spec.primary_instance_uid, study_id, check_stop=check_stop
            )
            if primary_id is None:
                packaged, source, volumes = self._infer(memory, source)
                self._require_inputs(study_id)
                self._run.begin_upload()
                with self._run.timed("upload"):
                    primary_id = self._lab.archive.store(
                        packaged.dicom_bytes, study_id=study_id, check_stop=check_stop
                    )
            else:
                log.info("result is stored already", action="job.skip_inference")
                self._publish_stage(Stage.UPLOADING, 0, 2)
            with self._run.timed("verify"):
                stored = self._lab.archive.fetch_instance(primary_id, check_stop=check_stop)
                measured = self._lab.workbench.measure(
                    stored, source, self._spec, volumes, self._run.stop_conditions
                )
            self.measured = measured
            if measured.undrawn:
                log.warning("no key slices", action="job.no_key_slices", error=measured.undrawn)
            self._publish_stage(Stage.UPLOADING, 1, 2)
            report_id = primary_id
            if measured.report:
                report_id = self._store_report(measured.report, study_id)
            self._store_key_slices(measured.key_slices, study_id)
            self._publish_stage(Stage.UPLOADING, 2, 2)
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
        self._check_distinct()
        return bundle

    def _check_distinct(self) -> None:
        """Raise `WrongPhaseCount` where one phase is given for two roles.

        The model would see no change between them, and say so of the patient.
        """
        seen: dict[str, list[PhaseSelector | None]] = {}
        for item in self._request.inputs:
            chosen = seen.setdefault(item.series_uid, [])
            if any(_same_phase(item.phase_selector, other) for other in chosen):
                raise WrongPhaseCount(f"{item.role} is the same phase as a role before it")
            chosen.append(item.phase_selector)

    def _download(self, memory: ExitStack) -> DownloadIndex:
        self._check_counts()
        # Several phases may lie in one series: it comes once.
        counts = {item.series_uid: item.instance_count for item in self._request.inputs}
        total, done = sum(counts.values()), 0
        limit = left = self._lab.max_request_bytes
        delivered: dict[str, tuple[SeriesMemory, tuple[tuple[int, int], ...]]] = {}
        phases = []
        self._publish_stage(Stage.DOWNLOADING, done, total)
        with self._run.timed("download"):
            for item in self._request.inputs:
                if item.series_uid not in delivered:
                    name = f"series-{item.role}"
                    file = memory.enter_context(SeriesMemory(name, room=left, limit=limit))
                    files = self._lab.archive.download_series(
                        self._request.study_uid,
                        item.series_uid,
                        file,
                        check_stop=self._run.stop_conditions.check,
                    )
                    left -= file.size
                    file.seal()
                    delivered[item.series_uid] = (file, tuple(files))
                    done += item.instance_count
                    self._publish_stage(Stage.DOWNLOADING, done, total)
                file, parts = delivered[item.series_uid]
                selector = item.phase_selector
                phases.append(
                    PhaseFiles(
                        role=item.role,
                        series_uid=item.series_uid,
                        path=file.path,
                        files=parts,
                        instance_count=item.instance_count,
                        selector=(selector.keyword, selector.value) if selector else None,
                    )
                )
        return DownloadIndex(study_uid=self._request.study_uid, phases=tuple(phases))

    def _check_counts(self) -> None:
        """Raise `TooLarge` for a series of too many instances before any of it is downloaded."""
        limit = self._lab.max_series_instances
        for item in self._request.inputs:
            if item.instance_count > limit:
                raise TooLarge(
                    f"series {item.series_uid} has {item.instance_count} instances, "
                    f"the limit is {limit}"
                )

    def _study_id(self) -> str:
        """The archive's own id of the study of the first input, in which the result must lie.

        Not its UID: the archive files by the patient's number too. Raises `SeriesNotFound`.
        """
        study_id = self._study_of(self._request.inputs[0])
        if study_id is None:
            first = self._request.inputs[0].series_uid
            raise SeriesNotFound(f"the archive has no series {first} any more")
        return study_id

    def _study_of(self, one: InputSeries) -> str | None:
        return self._lab.archive.study_of(
            one.series_id,
            one.series_uid,
            self._request.study_uid,
            check_stop=self._run.stop_conditions.check,
        )

    def _require_inputs(self, study_id: str) -> None:
        """Raise `SeriesNotFound` for an input that was deleted from the study since it was read.

        An upload would bring a deleted study back into the archive, without its images.
        """
        for one in {item.series_uid: item for item in self._request.inputs}.values():
            if self._study_of(one) != study_id:
                raise SeriesNotFound(f"the study has no series {one.series_uid} any more")

    def _infer(
        self, memory: ExitStack, source: DownloadIndex
    ) -> tuple[PackagedPrimary, DownloadIndex, Volumes]:
        """The primary object, the source with what the reader has seen of it, and the voxels."""
        volumes = memory.enter_context(MemoryFile("volumes"))
        mask = memory.enter_context(MemoryFile("mask"))
        with self._run.timed("read"):
            header = self._lab.workbench.read(source, volumes.path, self._run.stop_conditions)
        # A bundle is to compute from the voxels, and not to choose what they were.
        volumes.seal()
        self._publish_stage(Stage.INFERRING, 0, 1)
        with self._run.timed("infer"):
            self._lab.workbench.segment(
                SegmentationJob(
                    bundle=self._bundle,
                    device=self._lab.device,
                    volumes_path=volumes.path,
                    mask_path=mask.path,
                    shape=header.shape,
                    affine_lps=header.affine_lps,
                    threshold=self._spec.threshold,
                ),
                self._run.stop_conditions,
            )
        mask.seal()
        self._publish_stage(Stage.UPLOADING, 0, 2)
        source = source.as_read(header)
        # Only here: a run that finds its primary stored did not compute it from its own download.
        self._spec = replace(self._spec, input_sha256=header.input_sha256)
        with self._run.timed("package"):
            packaged = self._lab.workbench.package(
                source, mask.path, header.shape[1:], self._spec, self._run.stop_conditions
            )
        return packaged, source, Volumes(volumes.path, header)

    def _store_report(self, report: bytes, study_id: str) -> str:
        check_stop = self._run.stop_conditions.check
        self._run.begin_upload()
        with self._run.timed("report"):
            report_id = self._lab.archive.store(report, study_id=study_id, check_stop=check_stop)
            # An answer is not yet a stored object: read it back, as a page does, before anything
            # is promised.
            if not self._lab.archive.fetch_instance(report_id, check_stop=check_stop):
                raise UploadRejected(f"the report {self._spec.report_instance_uid} is stored empty")
        return report_id

    def _store_key_slices(self, pictures: tuple[bytes, ...], study_id: str) -> None:
        check_stop = self._run.stop_conditions.check
        if not pictures:
            return
        with self._run.timed("key_slices"):
            for picture in pictures:
                picture_id = self._lab.archive.store(
                    picture, study_id=study_id, check_stop=check_stop
                )
                # As with the report; in any encoding, because only viewers show it.
                if not self._lab.archive.fetch_instance(
                    picture_id, as_stored=True, check_stop=check_stop
                ):
                    raise UploadRejected("a key slice is stored empty")

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
            input_sha256=measured.input_sha256 or None,
            stage_seconds=self._run.stage_seconds,
        )

    def _publish_stage(self, stage: Stage, done: int, total: int) -> None:
        self._lab.announcer.publish(
            self._run.event(InferenceProgressed, stage=stage, done=done, total=total)
        )


def _same_phase(one: PhaseSelector | None, other: PhaseSelector | None) -> bool:
    """Whether two selectors of one series find the same images; none finds them all."""
    if one is None or other is None:
        return True
    return one.keyword == other.keyword and same_value(one.value, other.value)
