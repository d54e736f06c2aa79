"""What the archive holds of one request: found by the UIDs that every run derives."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from messages.identity import key_series_uid, primary_instance_uid, report_instance_uid
from web.orthanc.archive import Orthanc
from web.orthanc.errors import InstanceNotFound

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class StoredObjects:
    """Orthanc's ids of what a request has stored."""

    #: In the study of the request.
    here: tuple[str, ...]
    #: In other studies: copied there, they are somebody else's.
    elsewhere: tuple[str, ...]


def objects_of(request_id: UUID, study_uid: str, orthanc: Orthanc) -> StoredObjects:
    """What the archive holds of a request. Raises `ArchiveError` when it cannot be asked."""
    here: list[str] = []
    elsewhere: list[str] = []
    for instance_id in _objects(request_id, orthanc):
        # Gone in between: somebody else has removed it.
        with suppress(InstanceNotFound):
            lies_here = orthanc.study_of(instance_id) == study_uid
            (here if lies_here else elsewhere).append(instance_id)
    return StoredObjects(tuple(here), tuple(elsewhere))


def remove_objects(
    request_id: UUID, study_uid: str, orthanc: Orthanc, *, everywhere: bool = False
) -> int:
    """Delete what a request has stored in its study; return how many objects were found there.

    Whoever copied an object to another study has made it their own: it stays, and an operator is
    told. `everywhere` is for a request whose result the archive itself filed elsewhere, and which
    never had one that anybody could copy. Raises `ArchiveError` when the archive cannot be asked;
    what is gone by then stays gone.
    """
    if everywhere:
        return delete_objects(request_id, tuple(_objects(request_id, orthanc)), orthanc)
    found = objects_of(request_id, study_uid, orthanc)
    say_foreign(request_id, found.elsewhere)
    return delete_objects(request_id, found.here, orthanc)


def delete_objects(request_id: UUID, instance_ids: Collection[str], orthanc: Orthanc) -> int:
    """Delete these objects of a request; return how many were still there."""
    deleted = 0
    for instance_id in instance_ids:
        with suppress(InstanceNotFound):
            orthanc.delete_instance(instance_id)
            deleted += 1
    if deleted:
        log.info("objects_removed", request_id=str(request_id), count=deleted)
    return deleted


def say_foreign(request_id: UUID, instance_ids: Collection[str]) -> None:
    """Tell an operator which objects stay, and why."""
    for instance_id in instance_ids:
        log.error(
            "object_in_another_study",
            request_id=str(request_id),
            instance_id=instance_id,
            detail="it was copied there and is not removed with the other objects of the request",
        )


def _objects(request_id: UUID, orthanc: Orthanc) -> Iterator[str]:
    """Orthanc's ids: of the primary, the report, and the key slices, however many a lab made."""
    for uid in (primary_instance_uid(request_id), report_instance_uid(request_id)):
        yield from orthanc.instances_with(uid)
    yield from orthanc.instances_of_series(key_series_uid(request_id))
