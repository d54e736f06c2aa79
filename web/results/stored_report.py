"""Fetching the report of a request from the archive."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from pydicom.uid import ComprehensiveSRStorage

from messages import identity
from web.orthanc.archive import Orthanc
from web.orthanc.errors import InstanceNotFound, UnreadableReport, UnreadableResult
from web.orthanc.heavy import large
from web.orthanc.stored_file import stated, stored_file
from web.orthanc.time_budget import within
from web.results.report_details import ReadReport, read_report


@dataclass(frozen=True)
class StoredReport:
    """A report and where it lies."""

    #: Orthanc's id.
    instance_id: str
    series_uid: str
    sop_instance_uid: str
    details: ReadReport


def report_uids(request_id: UUID, *, tumor_detected: bool) -> tuple[str, str]:
    """Series and SOP Instance UID of the report of a result.

    Where nothing was found the report is the primary object itself.
    """
    if tumor_detected:
        return identity.report_series_uid(request_id), identity.report_instance_uid(request_id)
    return identity.primary_series_uid(request_id), identity.primary_instance_uid(request_id)


def stored_report(
    request_id: UUID, study: tuple[str, str], orthanc: Orthanc, *, tumor_detected: bool
) -> StoredReport:
    """Look the report up by its derived UID, in the study of the request alone, and read it.

    `study` is Orthanc's id and the UID: a copy under another patient's number lies in a study of
    the same UID, and is no report of this request. Where the number was corrected in the archive
    that cannot be told from it, and the report is gone, as the result is.
    Raises `ArchiveUnavailable`, `InstanceNotFound` where the archive no longer holds it, and
    `UnreadableReport` for something else under its UID.
    """
    series_uid, uid = report_uids(request_id, tumor_detected=tumor_detected)
    with within(), large():
        try:
            found = orthanc.instances_in(study, uid)
            if not found:
                raise InstanceNotFound("the archive holds no such report")
            if len(found) > 1:
                raise UnreadableReport("the study holds several reports under one UID")
            file = orthanc.result_file(found[0])
        except UnreadableResult as exc:
            raise UnreadableReport(str(exc)) from None
        details = _read(file, (uid, series_uid, study[1]))
    if details.tumor_detected != tumor_detected:
        raise UnreadableReport("the report states another outcome than the request")
    return StoredReport(found[0], series_uid, uid, details)


def _read(file: bytes, names: tuple[str, str, str]) -> ReadReport:
    try:
        report = stored_file(file).head
        found = stated(report)
    except UnreadableResult as exc:
        raise UnreadableReport(str(exc)) from None
    if found.names != names:
        raise UnreadableReport("the report names another study or series")
    if found.kind != ComprehensiveSRStorage:
        raise UnreadableReport("the object is no report")
    return read_report(report)
