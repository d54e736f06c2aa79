"""What an archive files a result by, and text of no known character set.

An archive files an object by Patient ID and Study Instance UID. It reads the former by the Specific
Character Set, and by a default of its own where that is absent or unknown: the same letters in
UTF-8 are then another patient. So they are copied byte for byte, with the set that the source
declares, whatever that is.
"""

from __future__ import annotations

import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydicom import DataElement, Dataset
from pydicom.charset import ESC, convert_encodings, decode_bytes, python_encoding
from pydicom.config import RAISE, settings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from consumer.payloads import Filing
from consumer.result.copied import copied

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydicom.tag import BaseTag

    from consumer.result.copied import Attribute

_CHARACTER_SET, _PATIENT_ID, _STUDY_UID = (
    Tag("SpecificCharacterSet"),
    Tag("PatientID"),
    Tag("StudyInstanceUID"),
)

#: VRs whose bytes the character set gives a meaning (PS3.5 section 6.1.2.3), and those of which
#: a backslash makes several values.
_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_SEVERAL = frozenset({"LO", "PN", "SH", "UC"})

#: What stands for the marks that `consumer.result.provenance` writes in full width.
_MARKS = str.maketrans({"＝": ":", "，": ";"})


def filing_of(ds: Dataset) -> Filing:
    """What an archive files a slice by, as its file has it; `ds` is just parsed."""
    sets, number = _raw(ds, _CHARACTER_SET), _raw(ds, _PATIENT_ID)
    is_text = number is None or _is_text(number, "LO", _names(sets))
    return Filing(sets, number, _raw(ds, _STUDY_UID), is_text)


def settle_text(ds: Dataset) -> None:
    """Empty, in place, what a result would copy and what is no text of the declared set.

    It must happen before anybody looks at it: pydicom makes some text of any bytes.
    """
    _settle(ds, copied(), _names(_raw(ds, _CHARACTER_SET)))


def _settle(
    ds: Dataset, attributes: Mapping[BaseTag, Attribute], sets: Sequence[str] | None
) -> None:
    for tag, attribute in attributes.items():
        if tag not in ds:
            continue
        if attribute.item:
            for item in _items(ds, tag):
                own = _raw(item, _CHARACTER_SET)
                _settle(item, attribute.item, sets if own is None else _names(own))
            continue
        vr = dictionary_VR(tag)
        value = _raw(ds, tag)
        # The number of the patient is written as it is.
        if tag != _PATIENT_ID and vr in _TEXT and value and not _is_text(value, vr, sets):
            ds[tag] = DataElement(tag, vr, None)


def _items(ds: Dataset, tag: BaseTag) -> list[Dataset]:
    # What is no sequence there, and what is broken, `complete` drops.
    try:
        return [item for item in ds[tag].value or () if isinstance(item, Dataset)]
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return []


def file_alike(made: Dataset, filing: Filing | None) -> None:
    """Make an archive file an object as it has filed the source, in place, before it is written."""
    if filing is None:
        return
    if filing.study_uid is not None:
        _put(made, _STUDY_UID, "UI", filing.study_uid)
    number = filing.patient_id
    if filing.is_text:
        # The same letters in every set: no need of the source's. Other text is in UTF-8.
        if number is not None and _is_plain(number):
            _put(made, _PATIENT_ID, "LO", number)
        return
    known = _names(filing.character_set) is not None
    _in_ascii(made, copied() if known else {})
    if filing.character_set is None:
        del made[_CHARACTER_SET]
    else:
        # As text: pydicom asks for it when it writes. Its bytes are the same.
        made[_CHARACTER_SET] = DataElement(
            _CHARACTER_SET, "CS", filing.character_set.decode("latin-1")
        )
    _put(made, _PATIENT_ID, "LO", number or b"")


def _put(made: Dataset, tag: BaseTag, vr: str, value: bytes) -> None:
    element = DataElement(tag, vr, None)
    # Not by its setter, which takes a value apart at each backslash. A raw element would be made
    # text of when the object is written.
    element._value = value  # noqa: SLF001
    made[tag] = element


def _in_ascii(ds: Dataset, spared: Mapping[BaseTag, object]) -> None:
    """Write our own text, in place, in the letters that every character set has."""
    for element in ds:
        if element.tag in spared or element.is_empty:
            continue
        if element.VR == "SQ":
            for item in element.value:
                _in_ascii(item, {})
        elif element.VR in _TEXT:
            if element.VM > 1:
                element.value = [ascii_of(str(value)) for value in element.value]
            else:
                element.value = ascii_of(str(element.value))


def ascii_of(text: str) -> str:
    """The text without accents, and with a question mark for each letter that has no other form."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text.translate(_MARKS)))
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", bare).encode("ascii", "replace").decode("ascii")


def _raw(ds: Dataset, tag: BaseTag) -> bytes | None:
    """The bytes of an element as they were read; None where it is absent."""
    if tag not in ds:
        return None
    element = ds.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    if element.VR == "SQ":
        # No text, and its items may hold any.
        return b""
    # Looked at already: letters of ASCII, or of Latin 1 as pydicom reads an undeclared set.
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join("" if one is None else str(one) for one in values).encode("latin-1", "replace")


def _names(raw: bytes | None) -> list[str] | None:
    """The declared character sets (PS3.3 section C.12.1.1.2); None where one is not known."""
    found = [name.strip(b" \0").decode("latin-1") for name in (raw or b"").split(b"\\")]
    return found if all(name in python_encoding for name in found) else None


def _is_plain(value: bytes) -> bool:
    return value.isascii() and ESC not in value


def _is_text(value: bytes, vr: str, sets: Sequence[str] | None) -> bool:
    """Whether bytes are text of the declared sets, each letter of it."""
    if _is_plain(value):
        return True
    if sets is None:
        return False
    encodings = convert_encodings(list(sets))
    if sets[0] in {"", "ISO_IR 6", "ISO 2022 IR 6"}:
        # pydicom reads the default set as Latin 1, of which it is the lower half.
        encodings[0] = "ascii"
    if ESC in value and len(sets) == 1:
        return False
    parts = value.split(b"\\") if vr in _SEVERAL else [value]
    if vr == "PN":
        parts = [group for part in parts for group in part.split(b"=")]
    try:
        with _strict():
            for part in parts:
                decode_bytes(part, encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    except (ValueError, LookupError):
        return False
    return True


@contextmanager
def _strict() -> Iterator[None]:
    """Let pydicom say that bytes are no text, and not make text of them."""
    before = settings.reading_validation_mode
    settings.reading_validation_mode = RAISE
    try:
        yield
    finally:
        settings.reading_validation_mode = before
