"""The archive in the lab's words: series and instances. It never parses DICOM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from consumer.errors import (
    ArchiveUnavailable,
    LabError,
    ResultMisfiled,
    SeriesNotFound,
    TooLarge,
    UploadRejected,
)
from consumer.orthanc.clock import clock_difference
from consumer.orthanc.interruptible import StopCheck, interruptible_by, never_stop
from consumer.orthanc.multipart import PartCount, boundary_of, parts_of
from consumer.orthanc.transport import DEFAULT_TIMEOUT, Transport
from messages.envelope import ORTHANC_ID_PATTERN, UID_PATTERN
from messages.part10 import PLAIN, RESULT_BYTES, only_part, plain_accept, transfer_syntax

if TYPE_CHECKING:
    from consumer.memory import MemoryFile

#: Seconds for a probe: an archive that is well answers in milliseconds.
PROBE_TIMEOUT = (3.0, 5.0)

#: Bytes of the largest series that is taken: 4000 slices of 512 x 512 with 16 bits.
DEFAULT_SERIES_BYTES = 2 * 1024**3

#: Instances of the largest series that is taken.
DEFAULT_SERIES_INSTANCES = 20_000


class Archive:
    """One Orthanc with the DICOMweb plugin, usable from several threads.

    Each `check_stop` is called several times a second while the archive does not answer; what it
    raises ends the request. Not while a connect hangs: that ends by itself within seconds.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        *,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
        max_series_bytes: int = DEFAULT_SERIES_BYTES,
        max_series_instances: int = DEFAULT_SERIES_INSTANCES,
    ) -> None:
        self._http = Transport(url, (user, password), timeout=timeout)
        self._max_series_bytes = max_series_bytes
        self._max_series_instances = max_series_instances

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return self._http.url

    def probe(self) -> None:
        """Return when the archive answers with its credentials; raises ArchiveUnavailable."""
        with self._http.send("GET", "/system", timeout=PROBE_TIMEOUT) as response:
            self._http.expect_ok(response)

    def status(self, path: str) -> int:
        """The HTTP status of a GET, for the checklist; raises ArchiveUnavailable for none."""
        with self._http.send("GET", path, timeout=PROBE_TIMEOUT) as response:
            return response.status_code

    def clock_difference(self) -> int | None:
        """Seconds that this clock is behind the archive's, for the checklist; raises as `probe`."""
        return clock_difference(self._http, PROBE_TIMEOUT)

    def download_series(
        self,
        study_uid: str,
        series_uid: str,
        into: MemoryFile,
        *,
        check_stop: StopCheck = never_stop,
    ) -> list[tuple[int, int]]:
        """Append a whole series to `into`; returns (offset, length) of each Part 10 file there.

        WADO-RS in one multipart answer (PS3.18 section 10.4), stored as it comes.

        Raises SeriesNotFound, TooLarge or ArchiveUnavailable; `into` then holds a torso.
        """
        _check(UID_PATTERN, study_uid)
        _check(UID_PATTERN, series_uid)
        path = f"/dicom-web/studies/{study_uid}/series/{series_uid}"
        # transfer-syntax=*: as stored. Otherwise Orthanc transcodes every file.
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        start = into.size
        with (
            interruptible_by(check_stop),
            self._http.send("GET", path, headers={"Accept": accept}) as response,
        ):
            if response.status_code == 404:
                raise self._not_found(study_uid, series_uid)
            self._http.expect_ok(response)
            boundary = boundary_of(response.headers.get("Content-Type", ""))
            count = PartCount(boundary)
            for piece in self._http.pieces(response):
                # The delimiter that ends the last part looks like the beginning of one more.
                if count.add(piece) > self._max_series_instances + 1:
                    raise TooLarge(
                        f"series {series_uid} has more than {self._max_series_instances} instances"
                    )
                if into.size + len(piece) - start > self._max_series_bytes:
                    raise TooLarge(
                        f"series {series_uid} has more than {self._max_series_bytes} bytes"
                    )
                into.write(piece)
        if into.size == start:
            raise ArchiveUnavailable(f"the archive sent nothing for series {series_uid}")
        with into.map() as body:
            return parts_of(body, start, boundary)

    def _not_found(self, study_uid: str, series_uid: str) -> LabError:
        # A missing plugin or a wrong path answers 404 too; only the core's index knows.
        for series_id in self._lookup(series_uid, "Series"):
            if self._parent_study(f"/series/{_orthanc_id(series_id)}")[1] == study_uid:
                return ArchiveUnavailable("the archive has the series, but not by DICOMweb")
        return SeriesNotFound(f"the archive has no series {series_uid} in study {study_uid}")

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, check_stop: StopCheck = never_stop
    ) -> str | None:
        """Orthanc's id of the study that holds this series now; None where none does.

        Orthanc files by the patient's number as well, so that a UID may be in several studies: the
        series is the one with this id. An id that is gone (the patient's number was corrected) is
        looked for by its UIDs. Raises SeriesNotFound where several are left, ArchiveUnavailable.
        """
        with interruptible_by(check_stop):
            ids = self._lookup(series_uid, "Series")
            ids = [series_id] if series_id in ids else ids
            found = [self._parent_study(f"/series/{_orthanc_id(one)}") for one in ids]
        studies = {key for key, uid in found if key is not None and uid == study_uid}
        if len(studies) > 1:
            raise SeriesNotFound(
                f"the archive holds series {series_uid} in {len(studies)} studies, and in none "
                "under the id that the request names"
            )
        return studies.pop() if studies else None

    def find_instance(
        self, sop_instance_uid: str, study_id: str, *, check_stop: StopCheck = never_stop
    ) -> str | None:
        """Orthanc's id of the object with this UID that lies in this study of Orthanc's, or None.

        Copies in other studies, of other patients too, are somebody else's. Raises UploadRejected
        when the study holds several (in different series), and ArchiveUnavailable.
        """
        with interruptible_by(check_stop):
            ids = [_orthanc_id(one) for one in self._lookup(sop_instance_uid, "Instance")]
            ids = [one for one in ids if self._parent_study(f"/instances/{one}")[0] == study_id]
        if len(ids) > 1:
            raise UploadRejected(f"the study holds {len(ids)} objects {sop_instance_uid}")
        return ids[0] if ids else None

    def _parent_study(self, resource: str) -> tuple[str | None, str | None]:
        """Orthanc's id and the UID of the study of a series or instance; nothing once it is gone.

        Raises ArchiveUnavailable.
        """
        with self._http.send("GET", f"{resource}/study") as response:
            if response.status_code == 404:
                return None, None
            self._http.expect_ok(response)
            study = self._http.json(response)
        if not isinstance(study, dict):
            raise ArchiveUnavailable("the archive described a study with something else")
        return _orthanc_id(study.get("ID")), study.get("MainDicomTags", {}).get("StudyInstanceUID")

    def _lookup(self, uid: str, level: str) -> list[object]:
        _check(UID_PATTERN, uid)
        with self._http.send("POST", "/tools/lookup", data=uid.encode()) as response:
            self._http.expect_ok(response)
            found = self._http.json(response)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise ArchiveUnavailable("the archive answered a lookup with something else")
        return [item.get("ID") for item in found if item.get("Type") == level]

    def fetch_instance(
        self, instance_id: str, *, as_stored: bool = False, check_stop: StopCheck = never_stop
    ) -> bytes:
        """Return an object as an uncompressed Part 10 file, or in the encoding that it is kept in.

        Raises ArchiveUnavailable or TooLarge, and UploadRejected where the archive keeps it in an
        encoding (`messages.part10`) and does not give it in another: no page could show it.
        """
        _check(ORTHANC_ID_PATTERN, instance_id)
        with interruptible_by(check_stop):
            with self._http.send("GET", f"/instances/{instance_id}/file") as response:
                self._http.expect_ok(response)
                stored = self._http.body(response, RESULT_BYTES)
            syntax = transfer_syntax(stored)
            # What states none is no DICOM: whoever parses it will say so.
            if as_stored or syntax is None or syntax in PLAIN:
                return stored
            return self._decoded(instance_id, syntax)

    def _decoded(self, instance_id: str, syntax: str) -> bytes:
        """The object by WADO-RS, which the archive decodes. Raises as `fetch_instance`."""
        levels = (("/study", "Study"), ("/series", "Series"), ("", "SOP"))
        uids = [
            self._uid(f"/instances/{instance_id}{tail}", f"{level}InstanceUID")
            for tail, level in levels
        ]
        path = "/dicom-web/studies/{}/series/{}/instances/{}".format(*uids)
        plain = None
        with self._http.send("GET", path, headers={"Accept": plain_accept()}) as response:
            if response.status_code not in (400, 406, 415):
                self._http.expect_ok(response)
                kind = response.headers.get("Content-Type", "")
                plain = only_part(self._http.body(response, RESULT_BYTES), kind)
        if plain is None or transfer_syntax(plain) not in PLAIN:
            raise UploadRejected(
                f"the archive keeps instance {instance_id} in transfer syntax {syntax} and does "
                "not give it uncompressed, so that no page could show it"
            )
        return plain

    def _uid(self, path: str, keyword: str) -> str:
        with self._http.send("GET", path) as response:
            self._http.expect_ok(response)
            described = self._http.json(response)
        tags = described.get("MainDicomTags") if isinstance(described, dict) else None
        uid = tags.get(keyword) if isinstance(tags, dict) else None
        if not isinstance(uid, str) or re.fullmatch(UID_PATTERN.strip("^$"), uid) is None:
            raise ArchiveUnavailable("the archive described an instance without its UIDs")
        return uid

    def store(
        self, dicom_bytes: bytes, *, study_id: str | None = None, check_stop: StopCheck = never_stop
    ) -> str:
        """Store a Part 10 file; returns Orthanc's id of what is now stored under its UIDs.

        That may be another object that was first: read it back. Raises ResultMisfiled when it lies
        in another study of Orthanc's than `study_id`, UploadRejected when the archive answers and
        does not take it, ArchiveUnavailable when it may take it later.
        """
        headers = {"Content-Type": "application/dicom"}
        with (
            interruptible_by(check_stop),
            self._http.send("POST", "/instances", data=dicom_bytes, headers=headers) as response,
        ):
            # 400 no DICOM, 413 over a limit of a proxy, 415 and 422 refused by a plugin.
            if response.status_code in (400, 413, 415, 422):
                raise UploadRejected(f"the archive answered HTTP {response.status_code}")
            self._http.expect_ok(response)
            answer = self._http.json(response)
        status = answer.get("Status") if isinstance(answer, dict) else None
        # 200 alone is not enough: a filtered object answers 200 with "FilteredOut".
        if status not in ("Success", "AlreadyStored"):
            raise UploadRejected("the archive answered neither Success nor AlreadyStored")
        stored = _orthanc_id(answer.get("ID"))
        if study_id is not None:
            self._check_filed(stored, answer.get("ParentStudy"), study_id, check_stop)
        return stored

    def _check_filed(self, stored: str, said: object, study_id: str, check_stop: StopCheck) -> None:
        """Raise ResultMisfiled unless the archive itself says that the object lies in the study."""
        if said is None:
            # An Orthanc, or a proxy, whose answer does not name it.
            with interruptible_by(check_stop):
                said, _ = self._parent_study(f"/instances/{stored}")
            if said is None:
                raise ArchiveUnavailable(f"the archive has no instance {stored} any more")
        if said != study_id:
            raise ResultMisfiled(
                f"the archive filed instance {stored} in another study than that of the images, "
                f"which is {study_id}"
            )

    def delete_instance(self, instance_id: str) -> None:
        """Delete one instance, for the checklist; raises ArchiveUnavailable."""
        _check(ORTHANC_ID_PATTERN, instance_id)
        with self._http.send("DELETE", f"/instances/{instance_id}") as response:
            # Whoever deleted it first did what was wanted.
            if response.status_code != 404:
                self._http.expect_ok(response)


def _check(pattern: str, value: str) -> None:
    # These come from a checked message; this is the last gate before a URL.
    if re.fullmatch(pattern.strip("^$"), value) is None or len(value) > 64:
        raise ValueError("not a DICOM UID or Orthanc id")


def _orthanc_id(value: object) -> str:
    if not isinstance(value, str) or re.fullmatch(ORTHANC_ID_PATTERN.strip("^$"), value) is None:
        raise ArchiveUnavailable("the archive answered without an id")
    return value
