"""A result compared with what the archive holds now: its input, and itself. Synchronous.

Cheap first: what Orthanc's index says of the chosen series in one call. While that is as it was at
the last comparison, so is the result's state. Only where it differs are the files compared, by the
MD5s that the archive keeps, with the digest that the result states.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import structlog
from django.db import transaction
from django.utils import timezone

from messages.input_digest import input_digest
from web.inference.models import InferenceRequest
from web.inference.result_state import InputState, ResultState, input_state_of
from web.inference.states import State
from web.notify import notify_on_commit
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable, NotInArchive, UnusableAnswer
from web.orthanc.time_budget import within

log = structlog.get_logger(__name__)

#: Seconds that a page waits to know better than it does.
LOOK_SECONDS = 2.0

#: Seconds for which pages do not look again at an archive that has just not answered one of them: a
#: page that polls would wait as long at each poll.
SILENT_SECONDS = 10.0

#: Archives that did not answer a page, and until when (monotonic seconds) none looks again.
_silent_until: WeakKeyDictionary[Orthanc, float] = WeakKeyDictionary()


class ComparingStopped(Exception):
    """The process stops: what is compared is left as it was."""


@dataclass(frozen=True)
class Held:
    """What the archive holds of some results: their series by id, and which primary objects."""

    series: Mapping[str, Mapping[str, Any]]
    objects: frozenset[str]


@dataclass(frozen=True)
class Compared:
    """What a comparison has found of one result."""

    input_state: InputState
    result_state: ResultState
    #: Of the series as they were; empty where their bytes are still to be compared.
    fingerprint: str


def held_of(rows: Iterable[InferenceRequest], orthanc: Orthanc) -> Held:
    """What the archive holds of these results: two calls.

    Raises `ArchiveUnavailable`, and `UnusableAnswer` where a series has more than is read.
    """
    rows = list(rows)
    series = {series_id for row in rows for series_id in _read(row)}
    objects = {primary_of(row) for row in rows}
    try:
        return Held(
            {item["ID"]: item for item in orthanc.bulk("Series", sorted(series))},
            frozenset(item["ID"] for item in orthanc.bulk("Instance", sorted(objects))),
        )
    except (KeyError, TypeError):
        raise ArchiveUnavailable("Orthanc described its resources in another way") from None


def compared(
    row: InferenceRequest,
    held: Held,
    orthanc: Orthanc | None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Compared:
    """The state of a result. Without an archive no files are compared, where that is needed.

    Raises `ArchiveUnavailable`, and `ComparingStopped` between two files.
    """
    state = ResultState.STORED if primary_of(row) in held.objects else ResultState.GONE
    read = _read(row)
    # Moved to another study, it is not what the reader sees there.
    found = {
        series_id: item
        for series_id in read
        if (item := held.series.get(series_id)) and item.get("ParentStudy") == row.study_id
    }
    counts = {series_id: len(item["Instances"]) for series_id, item in found.items()}
    stated = (row.result or {}).get("input_sha256")
    by_number = input_state_of(read, counts, same_bytes=None)
    fingerprint = _fingerprint(found)
    if by_number is not InputState.UNKNOWN or stated is None:
        return Compared(by_number, state, fingerprint)
    if fingerprint == row.input_fingerprint:
        return Compared(InputState(row.input_state), state, fingerprint)
    if orthanc is None:
        return Compared(_before(row), state, "")
    try:
        same = _digest(found, orthanc, is_stopping) == stated
    except NotInArchive:
        # Deleted while it was compared: the next look sees it.
        return Compared(_before(row), state, "")
    return Compared(input_state_of(read, counts, same_bytes=same), state, fingerprint)


def known(row: InferenceRequest) -> Compared:
    """What the last comparison has found."""
    return Compared(
        InputState(row.input_state), ResultState(row.result_state), row.input_fingerprint
    )


def _before(row: InferenceRequest) -> InputState:
    """What may be said on until the files are compared: never that they are the same."""
    state = InputState(row.input_state)
    return InputState.REPLACED if state is InputState.REPLACED else InputState.UNKNOWN


def note_compared(request_id: UUID, found: Compared) -> bool:
    """Write it into the row, and let the open pages know; return whether a state changed.

    What staff have withdrawn stays so. Not inside a transaction.
    """
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=request_id).first()
        if row is None or row.state != State.COMPLETED or row.withdrawn_at is not None:
            return False
        changed = (row.input_state, row.result_state) != (found.input_state, found.result_state)
        row.input_state, row.result_state = found.input_state, found.result_state
        row.input_fingerprint, row.compared_at = found.fingerprint, timezone.now()
        fields = ["input_state", "result_state", "input_fingerprint", "compared_at"]
        if changed:
            row.version += 1
            fields.append("version")
            notify_on_commit(row.pk)
        row.save(update_fields=fields)
    if changed:
        log.info(
            "result_compared",
            request_id=str(row.pk),
            input_state=str(found.input_state),
            result_state=str(found.result_state),
            version=row.version,
        )
    return changed


def looked_at(row: InferenceRequest, orthanc: Orthanc) -> InferenceRequest:
    """The row as the archive has it in this moment, for a page that shows it.

    Two calls and no file: what only the bytes can tell is left to the follower. While the archive
    does not answer soon, it is what is known, and for some seconds nobody asks again.
    """
    if row.state != State.COMPLETED or row.result is None or row.withdrawn_at is not None:
        return row
    if time.monotonic() < _silent_until.get(orthanc, 0.0):
        return row
    try:
        with within(LOOK_SECONDS):
            found = compared(row, held_of([row], orthanc), None)
    except (ArchiveUnavailable, UnusableAnswer):
        _silent_until[orthanc] = time.monotonic() + SILENT_SECONDS
        return row
    before = (row.input_state, row.result_state)
    if before != (found.input_state, found.result_state) and note_compared(row.pk, found):
        return InferenceRequest.objects.filter(pk=row.pk).first() or row
    return row


def primary_of(row: InferenceRequest) -> str:
    """Orthanc's id of the primary object of a result."""
    result: Mapping[str, str] = row.result or {}
    return result.get("seg_instance_id") or result["sr_instance_id"]


def _read(row: InferenceRequest) -> dict[str, int]:
    """How many instances the lab read, by series."""
    return {item["series_id"]: item["instance_count"] for item in row.inputs}


def _fingerprint(series: Mapping[str, Mapping[str, Any]]) -> str:
    """Which instances they hold, and when one was last stored: to the second."""
    lines = [
        " ".join((series_id, str(item.get("LastUpdate", "")), *sorted(item["Instances"])))
        for series_id, item in sorted(series.items())
    ]
    return sha256("\n".join(lines).encode()).hexdigest()


def _digest(series_ids: Collection[str], orthanc: Orthanc, is_stopping: Callable[[], bool]) -> str:
    def file_md5(instance_id: str) -> str:
        if is_stopping():
            raise ComparingStopped
        return orthanc.file_md5(instance_id)

    return input_digest(
        (uid, file_md5(instance_id))
        for series_id in series_ids
        for instance_id, uid in orthanc.uids_of_series(series_id).items()
    )
