"""What a result copies of its source: the modules of patient and study, made what they may be.

highdicom copies whatever the first slice holds of them, sequences included, and looks at nothing.
Scanners, brokers and anonymisers write values that the standard does not allow: what is copied
is held to the same rules as what is written here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from highdicom._standard_utils import (
    construct_module_tree,
    get_iod_module_map,
    get_sop_class_iod_map,
)
from pydicom import DataElement, Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import MRImageStorage
from pydicom.valuerep import validate_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom.tag import BaseTag

#: The entities whose modules a result shares with its images.
_SHARED = ("Patient", "Study")

#: One of them is in every code (PS3.3 table 8.8-1), and a scheme with the first two.
_CODE_VALUES = ("CodeValue", "LongCodeValue", "URNCodeValue")

#: Written as they are, whatever they hold: an archive files by them (`consumer.result.filing`).
FILED_BY = frozenset({Tag("PatientID"), Tag("StudyInstanceUID")})

#: Enumerated values (PS3.3 sections C.7.1 to C.7.3). The patient's sex is seen by `complete`.
_ENUMERATED: dict[str, frozenset[str | int]] = {
    "ConsentForDistributionFlag": frozenset({"NO", "YES", "WITHDRAWN"}),
    "PatientIdentityRemoved": frozenset({"YES", "NO"}),
    "PatientSexNeutered": frozenset({"ALTERED", "UNALTERED"}),
    "PregnancyStatus": frozenset({1, 2, 3, 4}),
    "QualityControlSubject": frozenset({"YES", "NO"}),
    "SmokingStatus": frozenset({"YES", "NO", "UNKNOWN"}),
}

#: Sequences of one item at most (PS3.3 sections C.7.1.1, C.7.2.1 and C.7.2.2, table 10.14-1).
_ONE_ITEM = frozenset(
    {
        "AssigningAgencyOrDepartmentCodeSequence",
        "AssigningFacilitySequence",
        "AssigningJurisdictionCodeSequence",
        "BreedRegistryCodeSequence",
        "DICOMMediaRetrievalSequence",
        "DICOMRetrievalSequence",
        "GeneticModificationsSequence",
        "IssuerOfAccessionNumberSequence",
        "IssuerOfAdmissionIDSequence",
        "IssuerOfPatientIDQualifiersSequence",
        "IssuerOfServiceEpisodeIDSequence",
        "PatientSpeciesCodeSequence",
        "ReferencedPatientPhotoSequence",
        "ReferencedPatientSequence",
        "WADORSRetrievalSequence",
        "WADORetrievalSequence",
        "XDSRetrievalSequence",
    }
)

#: Of which only an animal's images speak (PS3.3 sections C.7.1.1 and C.7.2.2): beside a species.
_SPECIES = ("PatientSpeciesDescription", "PatientSpeciesCodeSequence")
_OF_AN_ANIMAL = (
    "BreedRegistrationSequence",
    "GeneticModificationsSequence",
    "PatientBreedCodeSequence",
    "PatientBreedDescription",
    "PatientSexNeutered",
    "StrainAdditionalInformation",
    "StrainCodeSequence",
    "StrainDescription",
    "StrainNomenclature",
    "StrainStockSequence",
)

#: Of type 2C there: empty, not absent.
_EMPTY_OF_AN_ANIMAL = (
    "BreedRegistrationSequence",
    "PatientBreedCodeSequence",
    "PatientBreedDescription",
    "PatientSexNeutered",
    "ResponsibleOrganization",
    "ResponsiblePerson",
)

#: What else stands only beside one of these (type 1C there).
_BESIDE = {
    **dict.fromkeys(_OF_AN_ANIMAL, _SPECIES),
    "LongitudinalTemporalEventType": ("LongitudinalTemporalOffsetFromEvent",),
    "LongitudinalTemporalOffsetFromEvent": ("LongitudinalTemporalEventType",),
    "PatientAlternativeCalendar": (
        "PatientBirthDateInAlternativeCalendar",
        "PatientDeathDateInAlternativeCalendar",
    ),
    "PatientBirthDateInAlternativeCalendar": ("PatientAlternativeCalendar",),
    "PatientDeathDateInAlternativeCalendar": ("PatientAlternativeCalendar",),
    "ResponsiblePerson": ("ResponsiblePersonRole",),
    "ResponsiblePersonRole": ("ResponsiblePerson",),
}

#: Never copied: where a photo of the patient lies is no part of a result, and nobody looks there.
_LEFT = ("ReferencedPatientPhotoSequence",)

#: How somebody was made anonymous, where that was done (type 1C of PS3.3 section C.7.1.1).
_ANONYMOUS = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")

#: Without its type 1 attributes the module of a clinical trial says nothing (PS3.3 C.7.1.3).
_TRIAL = "clinical-trial-subject"
_OF_A_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
_SUBJECT = ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")

#: Characters that text may not hold, in a line and in paragraphs (PS3.5 section 6.1.3).
CONTROLS = {
    **dict.fromkeys(("LO", "PN", "SH", "UC"), re.compile("[\\x00-\\x1f\\x7f]")),
    **dict.fromkeys(("LT", "ST", "UT"), re.compile("[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f]")),
}

#: Numbers in text, which pydicom holds as numbers.
_NUMBERS = frozenset({"DS", "IS"})


@dataclass(frozen=True)
class Attribute:
    """How the standard has an attribute of a module."""

    keyword: str
    #: ``1``, ``1C``, ``2``, ``2C`` or ``3`` (PS3.5 section 7.4).
    type: str
    #: Of a sequence: what an item may hold.
    item: Mapping[BaseTag, Attribute] = field(default_factory=dict)


@cache
def copied() -> Mapping[BaseTag, Attribute]:
    """What highdicom copies of an MR image, from the tables by which it does."""
    modules = get_iod_module_map()[get_sop_class_iod_map()[MRImageStorage]]
    found: dict[BaseTag, Attribute] = {}
    for module in modules:
        if module["ie"] in _SHARED:
            found |= _attributes(construct_module_tree(module["key"]))
    return found


def _attributes(tree: Mapping[str, Any]) -> dict[BaseTag, Attribute]:
    found = {}
    for keyword, about in tree.get("attributes", {}).items():
        tag = tag_for_keyword(keyword)
        # highdicom knows attributes that are newer than pydicom's dictionary: none is copied here.
        if tag is not None:
            found[Tag(tag)] = Attribute(keyword, about["type"].value, _attributes(about))
    return found


def make_valid(ds: Dataset) -> None:
    """Empty or drop, in place, what of the copied attributes the standard does not allow."""
    for tag, attribute in copied().items():
        if tag in ds and tag not in FILED_BY:
            try:
                _settle(ds, tag, attribute)
            except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
                del ds[tag]
            if tag in ds and ds[tag].is_empty and attribute.type in {"1", "1C", "3"}:
                del ds[tag]
    for keyword in _LEFT if ds.get("PatientIdentityRemoved") == "YES" else (*_LEFT, *_ANONYMOUS):
        ds.pop(keyword, None)
    _keep_together(ds)


def _keep_together(ds: Dataset) -> None:
    """Drop what the standard wants only beside something else that is not there."""
    if not all(map(ds.get, _OF_A_TRIAL)) or not any(map(ds.get, _SUBJECT)):
        for tag in _trial():
            ds.pop(tag, None)
    before = -1
    # What goes may have been what another stood beside.
    while before != len(ds):
        before = len(ds)
        for keyword, others in _BESIDE.items():
            if keyword in ds and not any(map(ds.get, others)):
                del ds[keyword]
    if any(map(ds.get, _SPECIES)):
        for keyword in _EMPTY_OF_AN_ANIMAL:
            if keyword not in ds:
                setattr(ds, keyword, None)


@cache
def _trial() -> Mapping[BaseTag, Attribute]:
    return _attributes(construct_module_tree(_TRIAL))


def _settle(ds: Dataset, tag: BaseTag, attribute: Attribute) -> None:
    """Keep, empty or drop one attribute; what an item may not be without is seen by `_is_whole`."""
    element, vr = ds[tag], dictionary_VR(tag)
    if element.VR == vr == "SQ":
        kept = [item for item in element.value if _is_whole(item, attribute.item)]
        if attribute.keyword in _ONE_ITEM:
            kept = kept[:1]
        if kept or attribute.type.startswith("2"):
            ds[tag] = DataElement(tag, "SQ", Items(kept))
        else:
            del ds[tag]
    elif not _is_valid(element):
        if attribute.type.startswith("2"):
            ds[tag] = DataElement(tag, vr, None)
        else:
            del ds[tag]


def _is_whole(item: Dataset, attributes: Mapping[BaseTag, Attribute]) -> bool:
    """Settle an item in place, and say whether it may stay."""
    for tag in list(item.keys()):
        if tag not in attributes:
            del item[tag]
            continue
        try:
            _settle(item, tag, attributes[tag])
        except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
            del item[tag]
            continue
        if tag in item and item[tag].is_empty and not attributes[tag].type.startswith("2"):
            # Type 3 may be empty too; nobody misses an empty one.
            del item[tag]
    for tag, attribute in attributes.items():
        if attribute.type == "1" and tag not in item:
            return False
        if attribute.type == "2" and tag not in item:
            item.add_new(tag, dictionary_VR(tag), None)
    if Tag("CodeMeaning") in attributes:
        return _is_code(item)
    # Whom or what an item is about: an empty one is about nobody.
    return _names_something(item)


def _is_code(item: Dataset) -> bool:
    values = [keyword for keyword in _CODE_VALUES if keyword in item]
    if len(values) != 1:
        return False
    return values == ["URNCodeValue"] or "CodingSchemeDesignator" in item


def _names_something(item: Dataset) -> bool:
    if "UniversalEntityID" in item and "UniversalEntityIDType" not in item:
        return False
    if "PersonIdentificationCodeSequence" in item:
        # Type 1C each: one of the two must be there (PS3.3 table 10-1).
        return "InstitutionName" in item or "InstitutionCodeSequence" in item
    return any(not element.is_empty for element in item)


def _is_valid(element: DataElement) -> bool:
    """Whether length, letters and number of values are what VR and attribute allow."""
    if dictionary_VR(element.tag) != element.VR:
        # Empty, it would be written so all the same.
        return False
    if element.is_empty:
        return True
    several = element.VM > 1
    values = element.value if several else [element.value]
    allowed = _ENUMERATED.get(element.keyword)
    if not _may_be(element.VM, dictionary_VM(element.tag)) or (
        allowed is not None and element.value not in allowed
    ):
        return False
    try:
        for value in values:
            # As it was written: a number may have more digits than it is worth.
            text = getattr(value, "original_string", None) or value
            if element.VR in CONTROLS and CONTROLS[element.VR].search(str(text)):
                return False
            if not isinstance(text, int | float) or element.VR in _NUMBERS:
                validate_value(element.VR, str(text), RAISE)
    except ValueError:
        return False
    return True


def _may_be(count: int, allowed: str) -> bool:
    """Whether so many values are allowed by a VM of PS3.6: ``1``, ``2``, ``1-3``, ``1-n``."""
    low, _, high = allowed.partition("-")
    if not low.isdecimal():
        return True
    if not high:
        return count == int(low)
    return count >= int(low) and (not high.isdecimal() or count <= int(high))
