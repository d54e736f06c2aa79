"""Whether the caller sees a study that DICOMweb names by its UID, and what they are told of it."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from messages.identity import key_series_uid, primary_series_uid, report_series_uid
from web.access.audit import Action
from web.access.caller import Caller
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.orthanc.archive import archive, checked_id
from web.orthanc.errors import ArchiveUnavailable, NotAnOrthancId, StudyNotFound

#: Taken out of what a search tells: the viewer would search for the patient's other studies by
#: it, and so write it into an address, which proxies keep in their logs.
_PATIENT_ID = "00100020"

_STUDY_UID = "0020000D"

#: The series that a request may have in the archive.
_SERIES_OF_A_RESULT = (primary_series_uid, report_series_uid, key_series_uid)

#: How their UIDs begin (`messages.identity`).
_OF_A_UUID = "2.25."

#: Seconds for which it is known which studies have a UID: a viewer asks for hundreds of frames of
#: one. Whether the caller sees them is looked up each time.
KNOWN_SECONDS = 5.0

#: UIDs of which that is known; beyond it all are asked for anew.
_MOST_KNOWN = 256

_known: dict[tuple[object, str], tuple[float, tuple[str, ...]]] = {}


def seen(caller: Caller, study_uid: str) -> str:
    """Orthanc's id of the study, which the caller sees; raises `StudyNotFound`.

    Two patients may have a study of one UID, and DICOMweb cannot tell which is meant: then both
    must be seen.
    """
    ids = _ids_of(study_uid)
    hidden = [one for one in ids if not caller.scope.sees(one)]
    for one in hidden:
        caller.note(Action.REFUSED, study_id=one)
    if hidden or not ids:
        raise StudyNotFound("not granted, or not there")
    return ids[0]


def _ids_of(study_uid: str) -> tuple[str, ...]:
    # The pages do not wait for it.
    source = archive("dicomweb")
    until, ids = _known.get((source, study_uid), (0.0, ()))
    if time.monotonic() < until:
        return ids
    found = source.find({"Level": "Study", "Query": {"StudyInstanceUID": study_uid}})
    try:
        ids = tuple(sorted(checked_id(one) for one in found))
    except (TypeError, NotAnOrthancId):
        raise ArchiveUnavailable("Orthanc answered a search with something else") from None
    if ids:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[source, study_uid] = (time.monotonic() + KNOWN_SECONDS, ids)
    return ids


def results_in(study_id: str, series_uid: str) -> list[UUID]:
    """The completed requests whose result is in the series; without one, those of the study."""
    if series_uid and not series_uid.startswith(_OF_A_UUID):
        # Of a scanner, as nearly all are: nothing of ours, and nothing to look up.
        return []
    completed = InferenceRequest.objects.filter(study_id=study_id, state=State.COMPLETED)
    return [
        one
        for one in completed.values_list("pk", flat=True)
        if not series_uid or series_uid in {uid_of(one) for uid_of in _SERIES_OF_A_RESULT}
    ]


def visible_of(answer: bytes, visible: Collection[str]) -> bytes:
    """Of what the archive answered to a search for studies, that which is told.

    Again only the studies that are seen, whatever the archive made of the question, and without
    the patient's id. Raises `ArchiveUnavailable`.
    """
    try:
        found: Sequence[dict[str, Any]] = json.loads(answer)
        visible_studies = [
            {tag: item[tag] for tag in item if tag != _PATIENT_ID}
            for item in found
            if item[_STUDY_UID]["Value"][0] in visible
        ]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ArchiveUnavailable("Orthanc answered a search with something else") from None
    return json.dumps(visible_studies, ensure_ascii=False).encode()
