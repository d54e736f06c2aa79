"""What is known of a result before there is one: its origin, its names, and what it replaces."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from consumer.bundle import Bundle
from consumer.errors import UploadRejected
from consumer.jobs.lab import ArchivePort, Lab
from consumer.payloads import ResultSpec
from messages import identity
from messages.request import InferenceRequested

log = structlog.get_logger(__name__)


def spec_of(request: InferenceRequested, bundle: Bundle, lab: Lab) -> ResultSpec:
    """The origin that a result of this run states, and the UIDs derived from the request."""
    request_id, model = request.request_id, bundle.descriptor
    return ResultSpec(
        request_id=str(request_id),
        lab=lab.name,
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        notice=model.notice,
        # What is marked, the background left out: the first names the segments.
        labels=tuple(model.labels[number] for number in bundle.findings),
        primary_series_uid=identity.primary_series_uid(request_id),
        primary_instance_uid=identity.primary_instance_uid(request_id),
        report_series_uid=identity.report_series_uid(request_id),
        report_instance_uid=identity.report_instance_uid(request_id),
        codes=bundle.codes,
        reading_phase=bundle.reading_phase,
        number=request.number,
        weights_sha256=bundle.weights_sha256,
        device=lab.device,
        threshold=request.threshold or lab.threshold,
        min_lesion_mm3=lab.min_lesion_mm3,
        key_series_uid=identity.key_series_uid(request_id),
        key_instance_uids=tuple(
            identity.key_instance_uid(request_id, number) for number in range(1, lab.key_slices + 1)
        ),
    )


def older_report(
    request: InferenceRequested, archive: ArchivePort, study_id: str, check_stop: Callable[[], None]
) -> bytes | None:
    """The report of the request that this one supersedes, while the archive's study has it.

    It may be the primary itself, where nothing was found. Whether it is a report of this study the
    reader finds out: no DICOM is parsed here. Raises as the archive does.
    """
    older = request.supersedes
    if older is None:
        return None
    for uid in (identity.report_instance_uid(older), identity.primary_instance_uid(older)):
        try:
            found = archive.find_instance(uid, study_id, check_stop=check_stop)
        except UploadRejected:
            # The study has several: which of them is the report, nobody can say.
            continue
        if found is not None:
            return archive.fetch_instance(found, check_stop=check_stop)
    log.info("superseded result is gone", action="job.no_predecessor")
    return None
