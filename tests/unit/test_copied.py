"""What a result copies of its source is held to what the standard allows; dciodvfy is the judge.

`tests.conftest` asks it of every object that a test writes.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from consumer.result.copied import FILED_BY, Attribute, copied, make_valid
from tests.dicom_factory import Series, part10
from tests.unit.test_patient_text import results

#: Values that a VR allows, and such that it does not.
GOOD: dict[str, object] = {
    "CS": "ABC",
    "DA": "20200101",
    "TM": "101010",
    "DT": "20200101101010",
    "UI": "1.2.3",
    "AS": "030Y",
    "DS": "1.5",
    "IS": "3",
    "PN": "A^B",
    "UR": "http://a",
    "AE": "AE",
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC"), "abc"),
    **dict.fromkeys(("US", "SS", "UL", "FD", "FL"), 1),
}
BAD: dict[str, object] = {
    "CS": "A" * 20,
    "DA": "2020",
    "TM": "9999",
    "DT": "x",
    "UI": "1.2.a",
    "AS": "3Y",
    "DS": "1.2345678901234567890",
    "IS": "12345678901234",
    "SH": "A" * 20,
    "ST": "a" * 1100,
    "LT": "a" * 10_300,
    "UR": "a b",
    "AE": "A" * 20,
    **dict.fromkeys(("LO", "PN"), "a" * 70),
    **dict.fromkeys(("UT", "UC"), "abc"),
    **dict.fromkeys(("US", "SS", "UL", "FD", "FL"), 1),
}

#: Newer than the dictionary of the judge.
UNKNOWN = {
    "IssuerOfClinicalTrialProtocolID",
    "IssuerOfClinicalTrialSiteID",
    "IssuerOfClinicalTrialSubjectID",
    "IssuerOfClinicalTrialSubjectReadingID",
    "IssuerOfClinicalTrialTimePointID",
    "OtherClinicalTrialProtocolIDsSequence",
}


@pytest.fixture(autouse=True)
def what_no_library_would_write(monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("writing_validation_mode", "reading_validation_mode"):
        monkeypatch.setattr(config.settings, mode, config.IGNORE)


def value_for(vr: str, how: str) -> object:
    value = (BAD if how == "bad" else GOOD)[vr]
    if how == "nothing":
        return None
    if how == "several" and isinstance(value, str):
        return [value, value]
    return "abc" if how == "lower" and vr == "CS" else value


def fill(ds: Dataset, attributes: Mapping[object, Attribute], how: str) -> Dataset:
    """Every attribute of the modules, at every depth."""
    for tag, attribute in attributes.items():
        if tag in FILED_BY or attribute.keyword in UNKNOWN:
            continue
        vr = dictionary_VR(tag).split(" or ")[0]
        if vr != "SQ":
            ds.add_new(tag, vr, value_for(vr, how))
            continue
        count = {"no items": 0, "two items": 2}.get(how, 1)
        inside = {} if how == "empty items" else attribute.item
        items = [fill(Dataset(), inside, how) for _ in range(count)]
        ds.add_new(tag, "SQ", Sequence(items))
    return ds


HOW = [
    "good",
    "bad",
    "nothing",
    "several",
    "lower",
    "no items",
    "empty items",
    "two items",
]


@pytest.mark.parametrize("how", HOW)
def test_whatever_the_source_says_of_patient_and_study_the_result_is_valid(how: str) -> None:
    about = fill(Dataset(), copied(), how)
    assert len(results_beside(about)) == 3


def with_a_name() -> Dataset:
    item = Dataset()
    item.PatientName = "A^B"
    return item


#: VRs in which no attribute of patient and study belongs, or not all, as scanners, brokers and
#: anonymisers that know no dictionary write them.
ODD: dict[str, tuple[str, object]] = {
    "text": ("LO", "x"),
    "several texts": ("LO", ["x", "y"]),
    "a name": ("PN", "A^B"),
    "a number": ("US", 7),
    "several numbers": ("FD", [1.5, 2.5]),
    "a tag": ("AT", 0x00100010),
    "bytes": ("OB", b"\xff\x00"),
    "an unknown VR": ("UN", b"\x01\x02\x03\x04" * 4),
    "a sequence": ("SQ", Sequence([with_a_name()])),
    "an empty sequence": ("SQ", Sequence()),
    "nothing": ("SQ", None),
}


def encoded_as(vr: str, value: object, attributes: Mapping[object, Attribute]) -> Dataset:
    made = Dataset()
    for tag, attribute in attributes.items():
        if attribute.keyword != "StudyInstanceUID" and attribute.keyword not in UNKNOWN:
            # Raw: of bytes pydicom would make what belongs there, or refuse to.
            made[tag] = (
                RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
                if isinstance(value, bytes)
                else DataElement(tag, vr, value)
            )
    return made


@pytest.mark.parametrize(("vr", "value"), ODD.values(), ids=ODD)
def test_no_attribute_in_another_encoding_stops_a_result(vr: str, value: object) -> None:
    assert len(results_beside(encoded_as(vr, value, copied()))) == 3


@pytest.mark.parametrize(("vr", "value"), ODD.values(), ids=ODD)
def test_no_attribute_of_an_item_in_another_encoding_stops_a_result(vr: str, value: object) -> None:
    about = Dataset()
    for tag, attribute in copied().items():
        if attribute.item and attribute.keyword not in UNKNOWN:
            about.add_new(tag, "SQ", Sequence([encoded_as(vr, value, attribute.item)]))
    assert len(results_beside(about)) == 3


def results_beside(about: Dataset) -> list[Dataset]:
    series = Series(slices=3, rows=4, columns=4)
    for ds in series.datasets:
        for tag in about.keys():  # noqa: SIM118 - raw elements stay raw
            ds[tag] = about.get_item(tag)
    return results(series, [part10(ds) for ds in series.datasets])


def code(**changes: str) -> Dataset:
    item = Dataset()
    values = {"CodeValue": "24531-6", "CodingSchemeDesignator": "LN", "CodeMeaning": "MR breast"}
    for keyword, value in (values | changes).items():
        setattr(item, keyword, value)
    return item


def test_what_the_standard_allows_is_copied_as_it_is() -> None:
    about = Dataset()
    about.AccessionNumber, about.StudyDescription, about.PatientAge = "A-1", "MRI breast", "051Y"
    about.PatientWeight = "61.5"
    about.ProcedureCodeSequence = [code(), code(CodeValue="36625-2")]
    about.ReferencedStudySequence = [reference()]
    about.PatientIdentityRemoved, about.DeidentificationMethod = "YES", "by hand"
    for ds in results_beside(about)[:2]:
        for element in about:
            assert ds[element.tag].value == element.value, element.keyword


def reference() -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3"
    return item


def test_of_a_sequence_the_items_that_are_whole_stay() -> None:
    about = Dataset()
    about.ProcedureCodeSequence = [code(CodeValue="A" * 20), code(), code(CodeMeaning="")]
    about.ReferencedStudySequence = []
    for ds in results_beside(about)[:2]:
        assert [item.CodeValue for item in ds.ProcedureCodeSequence] == ["24531-6"]
        assert "ReferencedStudySequence" not in ds


def test_what_must_be_there_is_empty_where_its_value_cannot_be() -> None:
    about = Dataset()
    about.AccessionNumber, about.StudyID, about.StudyDescription = "A" * 20, "S" * 20, "D" * 70
    for ds in results_beside(about)[:2]:
        assert (ds.AccessionNumber, ds.StudyID) == ("", "")
        assert "StudyDescription" not in ds


def test_where_a_photo_of_the_patient_lies_is_not_copied() -> None:
    ds = Dataset()
    ds.ReferencedPatientPhotoSequence = [reference()]
    ds["PatientName"] = DataElement(0x00100010, "PN", "A^B")
    make_valid(ds)
    assert list(ds.keys()) == [0x00100010]
