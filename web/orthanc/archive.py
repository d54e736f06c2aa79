"""The only calls to Orthanc on the web side."""

from __future__ import annotations

import atexit
import re
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import httpx
import structlog
from django.conf import settings

from messages.envelope import UID_PATTERN
from messages.part10 import PLAIN, RESULT_BYTES, only_part, plain_accept, transfer_syntax
from web.orthanc.connection import (
    ABSENT,
    INDEX,
    MAX_TAGS_BYTES,
    Bounds,
    Budget,
    Connection,
    Level,
    checked_id,
)
from web.orthanc.errors import (
    ArchiveUnavailable,
    InstanceNotFound,
    NotAnOrthancId,
    SeriesNotFound,
    TooLargeResult,
    TooLongAnswer,
    UnreadableResult,
    UnusableAnswer,
)
from web.orthanc.inflation import DEFLATED, inflated
from web.orthanc.structure import require_small_decoded

__all__ = ["Described", "Level", "Orthanc", "archive", "checked_id"]

log = structlog.get_logger(__name__)

#: Objects of one UID of which it is asked where they lie: a result is copied into a teaching file
#: or two.
MOST_COPIES = 64

#: Where Orthanc names the UIDs of an instance, and as what.
_UIDS = {"/study": "StudyInstanceUID", "/series": "SeriesInstanceUID", "": "SOPInstanceUID"}


class Described(NamedTuple):
    """What Orthanc's index says of several resources."""

    #: Of those that it holds.
    items: list[dict[str, Any]]
    #: How many were asked for, or found.
    asked: int
    #: Ids of those of which it says more than is read: they are there.
    too_long: frozenset[str]


class Orthanc(Connection):
    """One Orthanc. Safe to share between threads."""

    def json(self, level: Level, orthanc_id: str, tail: str = "") -> Any:
        """The JSON of ``/<level>/<id><tail>``; raises the `NotInArchive` of that level.

        Raises `TooLongAnswer` for what has too many parts: a million instances in a series.
        """
        asked = self._client.build_request(
            "GET",
            f"/{level}/{checked_id(orthanc_id)}{tail}",
            headers={"Accept": "application/json"},
        )
        return self._json(asked, ABSENT[level])

    def tags(self, instance_id: str) -> dict[str, Any]:
        """All tags of an instance by keyword, sequences as lists of the same.

        Raises `UnusableAnswer`, `InstanceNotFound` or `ArchiveUnavailable`.
        """
        return self._tags("instances", instance_id, "/simplified-tags", Budget(MAX_TAGS_BYTES))

    def tags_within(self, instance_id: str, budget: Budget) -> dict[str, Any]:
        """The same, read while there is something left of the `budget` of several calls."""
        return self._tags("instances", instance_id, "/simplified-tags", budget)

    def numbered_tags(self, instance_id: str, budget: Budget) -> dict[str, Any]:
        """The same by number (``"0019,100a"``): only so the private ones are told apart."""
        return self._tags("instances", instance_id, "/tags?short", budget)

    def has_pixels(self, instance_id: str) -> bool:
        """Whether the file of an instance holds Pixel Data (7FE0,0010); raises as `tags` does.

        No more of them is read than shows that they are there: Orthanc answers no HEAD for them.
        """
        tail = f"/instances/{checked_id(instance_id)}/content/7fe0-0010"
        asked = self._client.build_request("GET", tail)
        try:
            self._send(asked, absent=InstanceNotFound, budget=Budget(0))
        except UnusableAnswer:
            return True
        except InstanceNotFound:
            return False
        return False

    def series_tags(self, series_id: str, *, short: bool = False) -> dict[str, Any]:
        """The same for each instance of a series, by its id; every file is read for it.

        With `short` by number, as ``0008,0008``, private ones too. Raises `UnusableAnswer`,
        `SeriesNotFound` or `ArchiveUnavailable`.
        """
        tail = f"/instances-tags?{'short' if short else 'simplify'}"
        return self._tags("series", series_id, tail, Budget(MAX_TAGS_BYTES))

    def _tags(self, level: Level, orthanc_id: str, tail: str, budget: Budget) -> dict[str, Any]:
        asked = self._client.build_request("GET", f"/{level}/{checked_id(orthanc_id)}{tail}")
        found = self._json_of_object(asked, ABSENT[level], budget)
        return found if isinstance(found, dict) else {}

    def content(
        self,
        level: Level,
        orthanc_id: str,
        tail: str,
        *,
        params: dict[str, str] | None = None,
        accept: str = "*/*",
        bounds: Bounds = INDEX,
    ) -> bytes:
        """The bytes of ``/<level>/<id><tail>``: a rendered image, an array.

        Raises `TooLongAnswer` for what is longer than its bounds.
        """
        asked = self._client.build_request(
            "GET",
            f"/{level}/{checked_id(orthanc_id)}{tail}",
            params=params or {},
            headers={"Accept": accept},
        )
        return self._send(asked, absent=ABSENT[level], bounds=bounds).content

    def result_file(self, instance_id: str) -> bytes:
        """A stored result as an uncompressed Part 10 file, whatever encoding it is kept in.

        What is deflated is inflated here, up to a bound. What is compressed otherwise the archive,
        which has compressed it, decodes, if it is to be no longer than a result: no decoder meets
        a stranger's bytes here. Raises `UnreadableResult` where that is not so,
        `InstanceNotFound` and `ArchiveUnavailable`.
        """
        stored = self._bounded(f"/instances/{checked_id(instance_id)}/file", "*/*").content
        syntax = transfer_syntax(stored)
        # What states none is no DICOM: whoever parses it will say so.
        if syntax is None or syntax in PLAIN:
            return stored
        if syntax == DEFLATED:
            return inflated(stored)
        require_small_decoded(stored)
        try:
            study, series, instance = (
                str(self.json("instances", instance_id, tail)["MainDicomTags"][keyword])
                for tail, keyword in _UIDS.items()
            )
        except (KeyError, TypeError):
            raise ArchiveUnavailable("Orthanc described an instance without its UIDs") from None
        if not all(re.fullmatch(UID_PATTERN, uid) for uid in (study, series, instance)):
            raise UnreadableResult("the object has a UID that is none")
        path = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        answer = self._bounded(path, plain_accept())
        plain = only_part(answer.content, answer.headers.get("Content-Type", ""))
        if plain is None or transfer_syntax(plain) not in PLAIN:
            raise UnreadableResult(
                f"instance {instance_id} is kept in transfer syntax {syntax}, and Orthanc does not "
                "give it uncompressed"
            )
        return plain

    def _bounded(self, path: str, accept: str) -> httpx.Response:
        request = self._client.build_request("GET", path, headers={"Accept": accept})
        budget = Budget(RESULT_BYTES, RESULT_BYTES)
        try:
            return self._send(request, InstanceNotFound, budget)
        except TooLongAnswer:
            raise TooLargeResult("the object is longer than a result that is read") from None
        except UnusableAnswer:
            raise UnreadableResult("Orthanc does not give the object") from None

    def find(self, query: dict[str, Any]) -> Any:
        """What ``/tools/find`` answers to `query`."""
        return self._json(self._client.build_request("POST", "/tools/find", json=query))

    def studies_dated(self, dates: str, limit: int, since: int = 0) -> Described:
        """Studies of a range of dates (PS3.4 section C.2.2.2.5), of all for an empty one."""
        query = {"Level": "Study", "Limit": limit, "Since": since, "Query": {"StudyDate": dates}}
        try:
            found: list[dict[str, Any]] = self.find({**query, "Expand": True})
        except TooLongAnswer:
            return self.described("Study", self.find({**query, "Expand": False}))
        return Described(found, len(found), frozenset())

    def described(self, level: str, orthanc_ids: Collection[str]) -> Described:
        """What Orthanc knows of these resources, of each one that is short enough to be told.

        One study of a million series keeps the others from nobody.
        """
        wanted = list(orthanc_ids)
        try:
            return Described(self.bulk(level, wanted), len(wanted), frozenset())
        except TooLongAnswer:
            if len(wanted) == 1:
                log.warning("archive_resource_too_long", level=level, resource=wanted[0])
                return Described([], 1, frozenset(wanted))
        half = len(wanted) // 2
        halves = [self.described(level, part) for part in (wanted[:half], wanted[half:])]
        return Described(
            [item for one in halves for item in one.items],
            len(wanted),
            halves[0].too_long | halves[1].too_long,
        )

    def bulk(self, level: str, orthanc_ids: Collection[str]) -> Any:
        """What Orthanc knows of these resources, without those that it does not hold.

        Raises `TooLongAnswer` where that is too much; see `described`.
        """
        # The level would otherwise be guessed from the ids, and a series answered as a study.
        query = {"Level": level, "Resources": [checked_id(one) for one in orthanc_ids]}
        if not query["Resources"]:
            return []
        return self._json(self._client.build_request("POST", "/tools/bulk-content", json=query))

    def instances_with(self, sop_instance_uid: str) -> list[str]:
        """Orthanc's ids of every stored object with this UID: a copied one has it too."""
        asked = self._client.build_request("POST", "/tools/lookup", content=sop_instance_uid)
        found = self._json(asked)
        try:
            return [checked_id(item["ID"]) for item in found if item["Type"] == "Instance"]
        except (KeyError, TypeError, NotAnOrthancId):
            raise ArchiveUnavailable("Orthanc answered a lookup with something else") from None

    def instances_in(self, study: tuple[str, str], sop_instance_uid: str) -> list[str]:
        """Those of them that lie in a study (Orthanc's id and the UID): copies are somebody else's.

        One call, and one for each copy. Raises `UnreadableResult` where there are so many that a
        reader would wait for nothing else.
        """
        found = self.instances_with(sop_instance_uid)
        if len(found) > MOST_COPIES:
            raise UnreadableResult(f"the archive holds {len(found)} objects {sop_instance_uid}")
        return [one for one in found if self.filed(one) == study]

    def instances_of_series(self, series_instance_uid: str) -> list[str]:
        """Orthanc's ids of the instances of every series with this UID, copies included."""
        asked = self._client.build_request("POST", "/tools/lookup", content=series_instance_uid)
        found = self._json(asked)
        ids: list[str] = []
        try:
            for series_id in (checked_id(item["ID"]) for item in found if item["Type"] == "Series"):
                # Gone in between: then it has none.
                with suppress(SeriesNotFound):
                    ids += map(checked_id, self.json("series", series_id)["Instances"])
        except (KeyError, TypeError, NotAnOrthancId):
            raise ArchiveUnavailable("Orthanc answered a lookup with something else") from None
        return ids

    def uids_of_series(self, series_id: str) -> dict[str, str]:
        """SOP Instance UID of each instance of a series, by Orthanc's id.

        Raises `SeriesNotFound` or `ArchiveUnavailable`.
        """
        listed = self.json("series", series_id, "/instances")
        try:
            return {
                checked_id(item["ID"]): str(item["MainDicomTags"]["SOPInstanceUID"])
                for item in listed
            }
        except (KeyError, TypeError, NotAnOrthancId):
            raise ArchiveUnavailable("Orthanc described a series in another way") from None

    def file_md5(self, instance_id: str) -> str:
        """MD5 in hex of a stored Part 10 file, as Orthanc keeps it: uncompressed, nothing is read.

        It is that of the file which WADO-RS hands out untranscoded. Raises `InstanceNotFound`.
        """
        answer = self.content("instances", instance_id, "/attachments/dicom/md5")
        return answer.decode("ascii", "replace").strip()

    def changes(self, since: int, limit: int) -> dict[str, Any]:
        """``/changes``: what was stored after the change of that number, oldest first.

        ``Last`` is the number of the last one that is answered; of none, the number that the
        archive gave last, also where what it was about is deleted, and with it the change.
        """
        found: dict[str, Any] = self._listed("/changes", since, limit)
        return found

    def last_change(self) -> dict[str, Any]:
        """The newest change that is there, in the form of `changes`."""
        asked = self._client.build_request("GET", "/changes?last")
        found: dict[str, Any] = self._json(asked)
        return found

    def studies_page(self, since: int, limit: int) -> Described:
        """A page of all studies, in an order of the archive's own."""
        try:
            found: list[dict[str, Any]] = self._listed("/studies?expand", since, limit)
        except TooLongAnswer:
            return self.described("Study", self._listed("/studies", since, limit))
        return Described(found, len(found), frozenset())

    def _listed(self, path: str, since: int, limit: int) -> Any:
        joined = "&" if "?" in path else "?"
        address = f"{path}{joined}since={since:d}&limit={limit:d}"
        return self._json(self._client.build_request("GET", address))

    def study_of(self, instance_id: str) -> str:
        """UID of the study that holds this instance; raises `InstanceNotFound`.

        Not Orthanc's id, which changes with the number of the patient.
        """
        return self.filed(instance_id)[1]

    def filed(self, instance_id: str) -> tuple[str, str]:
        """Orthanc's id and the UID of the study that holds this instance.

        The archive files by the patient's number too: two studies can have one UID, and only the
        ids tell them apart. Raises `InstanceNotFound`.
        """
        try:
            described = self.json("instances", instance_id, "/study")
            return str(described.get("ID", "")), str(described["MainDicomTags"]["StudyInstanceUID"])
        except (AttributeError, KeyError, TypeError):
            raise ArchiveUnavailable("Orthanc described an instance without its study") from None

    def delete_instance(self, instance_id: str) -> None:
        """Delete one stored object; Orthanc deletes a series with its last one.

        Raises `InstanceNotFound` when somebody else was first.
        """
        asked = self._client.build_request("DELETE", f"/instances/{checked_id(instance_id)}")
        self._send(asked, absent=InstanceNotFound)


@cache
def _shared(_pool: str, url: str, user: str, password: str) -> Orthanc:
    orthanc = Orthanc(url, user, password)
    atexit.register(orthanc.close)
    return orthanc


def archive(pool: str = "pages") -> Orthanc:
    """The archive that the settings name; each `pool` has connections of its own in a process."""
    site = settings.SITE
    password = site.orthanc_password.get_secret_value()
    return _shared(pool, site.orthanc_url, site.orthanc_user, password)
