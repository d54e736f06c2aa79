"""The archive: reached, entered, with DICOMweb. The site only reads it."""

from __future__ import annotations

from collections.abc import Iterator

from web.checks.line import Line, bad, ok, skipped
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveError, ArchiveUnavailable

#: Answers an empty list and no patient: there is no such study.
_QIDO = "/dicom-web/studies?StudyInstanceUID=2.25.0&limit=1"


class _Asked(Orthanc):
    """Orthanc, asked for addresses that pages do not ask for."""

    def look_at(self, path: str) -> None:
        """GET it and forget the answer. Raises `ArchiveError`."""
        self._send(self._client.build_request("GET", path))


def check(url: str, user: str, password: str) -> Iterator[Line]:
    """What the pages need of Orthanc."""
    archive = _Asked(url, user, password)
    try:
        yield from _lines(archive, url)
    finally:
        archive.close()


def _lines(archive: _Asked, url: str) -> Iterator[Line]:
    try:
        archive.look_at("/system")
    except ArchiveError as error:
        # A cause is an error of the network; without one Orthanc has answered.
        if isinstance(error, ArchiveUnavailable) and error.__cause__ is not None:
            fix = "start Orthanc, correct ORTHANC_URL, or open the firewall"
            yield bad("archive", f"{url} does not answer", fix)
            yield from (skipped(noun, "archive") for noun in ("archive credentials", "DICOMweb"))
            return
        yield ok("archive", f"{url} answers")
        yield bad(
            "archive credentials",
            str(error),
            "ORTHANC_USER and ORTHANC_PASSWORD as in Orthanc's RegisteredUsers; from another "
            "machine Orthanc needs RemoteAccessAllowed or a proxy",
        )
        yield skipped("DICOMweb", "archive credentials")
        return
    yield ok("archive", f"{url} answers")
    yield ok("archive credentials", "accepted")
    try:
        archive.look_at(_QIDO)
    except ArchiveError:
        yield bad(
            "DICOMweb",
            "/dicom-web/ does not answer",
            "install orthanc-dicomweb, name its file in Orthanc's Plugins, and set DicomWeb.Root "
            "to /dicom-web/",
        )
        return
    yield ok("DICOMweb", "/dicom-web/ answers")
