"""What the archive holds of one request: found by the UIDs that every run derives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

import structlog

from messages.identity import key_series_uid, primary_instance_uid, report_instance_uid
from web.archive.errors import InstanceNotFound
from web.archive.orthanc import Orthanc

log = structlog.get_logger(__name__)


def remove_objects(
    request_id: UUID, study_uid: str, orthanc: Orthanc, *, everywhere: bool = False
) -> int:
    """Delete what a request has stored in its study; return how many objects were found there.

    Whoever copied an object to another study has made it their own: it stays, and an operator is
    told. `everywhere` is for a request whose result the archive itself filed elsewhere, and which
    never had one that anybody could copy. Raises `ArchiveError` when the archive cannot be asked;
    what is gone by then stays gone.
    """
    found = 0
    for instance_id in _objects(request_id, orthanc):
        # Gone in between: somebody else has removed it.
        with suppress(InstanceNotFound):
            if everywhere or orthanc.study_of(instance_id) == study_uid:
                orthanc.delete_instance(instance_id)
                found += 1
            else:
                _say_foreign(request_id, instance_id)
    if found:
        log.info("objects_removed", request_id=str(request_id), count=found)
    return found


def _objects(request_id: UUID, orthanc: Orthanc) -> Iterator[str]:
    """Orthanc's ids: of the primary, the report, and the key slices, however many a lab made."""
    for uid in (primary_instance_uid(request_id), report_instance_uid(request_id)):
        yield from orthanc.instances_with(uid)
    yield from orthanc.instances_of_series(key_series_uid(request_id))


def _say_foreign(request_id: UUID, instance_id: str) -> None:
    log.error(
        "object_in_another_study",
        request_id=str(request_id),
        instance_id=instance_id,
        detail="it was copied there and is not removed with the cancelled request",
    )
