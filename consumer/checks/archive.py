"""The archive: reached, entered, with DICOMweb, and keeping what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING
from uuid import uuid5

from consumer.checks.line import Line, bad, ok, skipped, warned
from consumer.errors import ArchiveUnavailable, LabError, UploadRejected
from consumer.memory import MemoryFile
from consumer.orthanc import Archive
from messages.identity import LABRELAY
from messages.part10 import transfer_syntax

if TYPE_CHECKING:
    # Loaded only where something is stored.
    from pydicom import Dataset

#: Answers an empty list and no patient: there is no such study.
_QIDO = "/dicom-web/studies?StudyInstanceUID=2.25.0&limit=1"

#: Nouns of what is stored and deleted again.
_STORING = ("writable", "masks", "first write stays", "read back", "WADO-RS")

#: Nouns of what needs an archive that lets the lab in.
_LATER = ("clock", "DICOMweb", *_STORING)

#: Seconds between this machine's clock and the archive's from which on one should be set.
_SKEW_SECONDS = 30

#: What must come back as it was sent, beside the pixels.
_COMPARED = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

#: What to look at where something else comes back.
_CHANGES = (
    "look in Orthanc's configuration for IngestTranscoding, and for Lua scripts or plugins that "
    "change what is stored"
)


def check(archive: Archive, *, lab: str, store: bool) -> Iterator[Line]:
    """What a lab needs of Orthanc; `store` false leaves out what would write."""
    try:
        status = archive.status("/system")
    except ArchiveUnavailable:
        yield bad(
            "archive",
            f"{archive.url} does not answer",
            "start Orthanc, correct ORTHANC_URL, or open the firewall",
        )
        yield from (skipped(n, "archive") for n in ("archive credentials", *_LATER))
        return
    yield ok("archive", f"{archive.url} answers")
    if status in (401, 403):
        yield bad(
            "archive credentials",
            f"Orthanc answered HTTP {status}",
            "ORTHANC_USER and ORTHANC_PASSWORD as in Orthanc's RegisteredUsers; from another "
            "machine Orthanc needs RemoteAccessAllowed or a proxy",
        )
        yield from (skipped(n, "archive credentials") for n in _LATER)
        return
    if status != 200:
        yield bad(
            "archive credentials",
            f"HTTP {status} is not an answer of Orthanc",
            "ORTHANC_URL must lead to Orthanc's REST interface, a path included where a proxy "
            "has one",
        )
        yield from (skipped(n, "archive") for n in _LATER)
        return
    yield ok("archive credentials", "accepted")
    yield _clock(archive)
    dicomweb = archive.status(_QIDO) == 200
    if dicomweb:
        yield ok("DICOMweb", "/dicom-web/ answers")
    else:
        yield bad(
            "DICOMweb",
            "/dicom-web/ does not answer",
            "install orthanc-dicomweb, name its file in Orthanc's Plugins, and set DicomWeb.Root "
            "to /dicom-web/",
        )
    if store:
        yield from _storing(archive, lab, dicomweb=dicomweb)


def _clock(archive: Archive) -> Line:
    try:
        behind = archive.clock_difference()
    except ArchiveUnavailable:
        return skipped("clock", "archive")
    if behind is None:
        return skipped("clock", "an archive, or a proxy before it, that names its time (Date)")
    if abs(behind) <= _SKEW_SECONDS:
        return ok("clock", f"within {_SKEW_SECONDS} s of the archive's")
    way = "behind" if behind > 0 else "ahead of"
    return warned(
        "clock",
        f"this machine's is {abs(behind)} s {way} the archive's",
        "set it, or the archive's (timedatectl)",
    )


def _storing(archive: Archive, lab: str, *, dicomweb: bool) -> Iterator[Line]:
    """Store an object of our own, store another under its UID, read back, and delete it."""
    try:
        instance_id = archive.store(check_object(lab, "first"))
    except LabError as error:
        yield bad(
            "writable",
            error.detail,
            "Orthanc's log says who refused it: a Lua filter, a plugin, ReadOnly, a full disk, "
            "or the rights of ORTHANC_USER",
        )
        yield from (skipped(noun, "writable") for noun in _STORING[1:])
        return
    try:
        yield ok("writable", "an object was stored")
        yield _takes_masks(archive, lab)
        yield _first_stays(archive, lab, instance_id)
        yield _read_back(archive, lab, instance_id)
        yield _comes_back(archive, lab) if dicomweb else skipped("WADO-RS", "DICOMweb")
    except LabError as error:
        yield bad("writable", error.detail, "look at Orthanc's log, then check again")
    finally:
        # Without a line: a generator that is closed early must clean up as well.
        removed = _removed(archive, instance_id)
    if not removed:
        yield bad(
            "writable",
            f"the check's own instance {instance_id} could not be deleted",
            "delete it (patient LABRELAY-CHECK), or give ORTHANC_USER the right to; "
            "--no-store leaves this check out",
        )


def _takes_masks(archive: Archive, lab: str) -> Line:
    """Store what a result is: Orthanc 1.13 that re-encodes refuses masks of some widths."""
    try:
        instance_id = archive.store(mask_object(lab))
    except UploadRejected as error:
        return warned(
            "masks",
            f"a mask whose columns are no multiple of 8 is refused ({error.detail}): results on "
            "images of such a width would be",
            "set IngestTranscoding to nothing in Orthanc's configuration (its log has the reason)",
        )
    if not _removed(archive, instance_id):
        return bad(
            "masks",
            f"the check's own instance {instance_id} could not be deleted",
            "delete it (patient LABRELAY-CHECK), or give ORTHANC_USER the right to",
        )
    return ok("masks", "one of an odd width was stored")


def _first_stays(archive: Archive, lab: str, instance_id: str) -> Line:
    before = archive.fetch_instance(instance_id, as_stored=True)
    archive.store(check_object(lab, f"other than {len(before)}"))
    if archive.fetch_instance(instance_id, as_stored=True) != before:
        return bad(
            "first write stays",
            "a second object under the same UID replaced the first",
            "set OverwriteInstances to false in Orthanc's configuration",
        )
    return ok("first write stays", "a second object under the same UID was ignored")


def _read_back(archive: Archive, lab: str, instance_id: str) -> Line:
    """Compare what comes back with what was sent, as every result is read back by lab and site."""
    sent = check_object(lab, "first")
    kept = transfer_syntax(archive.fetch_instance(instance_id, as_stored=True))
    try:
        plain = archive.fetch_instance(instance_id)
    except UploadRejected as error:
        return bad("read back", error.detail, f"{_CHANGES}; results cannot be shown so")
    changed = _changed(sent, plain)
    if changed:
        text = f"the archive changes {', '.join(changed)} of what it stores"
        return bad("read back", text, _CHANGES)
    if kept == transfer_syntax(sent):
        return ok("read back", "it is as it was sent")
    return ok(
        "read back",
        f"the archive keeps it as {_named(kept)} and gives it back uncompressed, pixels and "
        "patient unchanged: results are read so",
    )


def _changed(sent: bytes, plain: bytes) -> list[str]:
    """What differs between two objects, in words for an engineer."""
    from consumer.dicom.files import read_file

    try:
        before, after = read_file(sent), read_file(plain)
        found = [name for name in _COMPARED if before.get(name) != after.get(name)]
        return found + ["the pixels"] * (before.PixelData != after.get("PixelData"))
    except LabError as error:
        return [f"so much that it cannot be read ({error.detail})"]
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        return ["so much that it cannot be read"]


def _named(syntax: str | None) -> str:
    from pydicom.uid import UID

    return "nothing known" if syntax is None else f"{UID(syntax).name} ({syntax})"


def _comes_back(archive: Archive, lab: str) -> Line:
    with MemoryFile("check") as memory:
        try:
            archive.download_series(_uid(lab, "study"), _uid(lab, "series"), memory)
        except LabError as error:
            return bad(
                "WADO-RS",
                error.detail,
                "compare DicomWeb in Orthanc's configuration with infra/orthanc/orthanc.json",
            )
    return ok("WADO-RS", "the object came back")


def _removed(archive: Archive, instance_id: str) -> bool:
    try:
        archive.delete_instance(instance_id)
    except ArchiveUnavailable:
        return False
    return True


def _uid(lab: str, part: str) -> str:
    # The same in every check of a lab: what a killed one left is found and deleted by the next.
    return f"2.25.{uuid5(LABRELAY, f'check/{lab}/{part}').int}"


def check_object(lab: str, comment: str) -> bytes:
    """A Part 10 file of nobody: secondary capture, 16 x 16, patient LABRELAY^CHECK."""
    return _part10(_object(lab, comment))


def mask_object(lab: str) -> bytes:
    """The same as two frames of one bit a pixel, 12 columns wide."""
    ds = _object(lab, "a mask")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _uid(lab, "mask")
    ds.SeriesInstanceUID = _uid(lab, "masks")
    ds.NumberOfFrames, ds.Columns = 2, 12
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    ds.PixelData = bytes(2 * 16 * 12 // 8)
    return _part10(ds)


def _part10(ds: Dataset) -> bytes:
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _object(lab: str, comment: str) -> Dataset:
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(lab, "instance")
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = _uid(lab, "instance")
    ds.StudyInstanceUID = _uid(lab, "study")
    ds.SeriesInstanceUID = _uid(lab, "series")
    ds.PatientName = "LABRELAY^CHECK"
    ds.PatientID = "LABRELAY-CHECK"
    ds.StudyID = ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyDescription = "Labrelay checks that the archive can be written"
    ds.Modality = "OT"
    ds.ConversionType = "SYN"
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.ImageComments = comment
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    # Every value, so that a compression with loss shows.
    ds.PixelData = bytes(range(256))
    return ds
