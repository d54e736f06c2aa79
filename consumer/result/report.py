"""Structured reports (TID 1500): the measurements of a SEG, or that nothing was found.

A report has one group without a segment, the summary: whether anything was found, the figures of
all lesions together, and where the result comes from. Beside it a SEG's report has one group for
each lesion (`consumer.result.lesion_group`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.tag import Tag
from pydicom.uid import generate_uid

from consumer.result import codes
from consumer.result.filing import file_alike
from consumer.result.lesion_group import DIAMETER_DECIMALS, VOLUME_DECIMALS, group_of
from consumer.result.origin import MANUFACTURER, complete, description, equipment, lo, series_number
from consumer.result.provenance import (
    for_report,
    made_by,
    now_at,
    read_back,
    stamp,
    stamp_alike,
    stated,
)
from consumer.result.stored import older_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumer.payloads import Figures, ResultSpec, StoredModel
    from consumer.result.lesion_group import MeasuredLesion

#: Referenced SOP Class UID and Referenced SOP Instance UID.
_CLASS, _INSTANCE = Tag(0x00081150), Tag(0x00081155)

#: Algorithm Parameters: "key=value", many of them (PS3.16 TID 4019).
_PARAMETER = ("111002", "DCM")

#: Container of the groups in a TID 1500 report.
_MEASUREMENTS = dicom_codes.DCM.ImagingMeasurements


class Reference(NamedTuple):
    """An instance by its UIDs, under the names that a data set has for them: there are hundreds."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPClassUID: str
    SOPInstanceUID: str


@dataclass(frozen=True)
class Source:
    """The images of which a report speaks."""

    #: A slice of the phase to which the result refers, from which patient and study are copied.
    origin: Dataset
    #: The four UIDs of every slice of every phase.
    evidence: Sequence[Dataset | Reference]
    #: Which series was which phase: ``input pre=<series uid> <keyword> <value>``.
    inputs: Sequence[str]


def no_lesion_report(source: Source, left_out: int, spec: ResultSpec) -> bytes:
    """Report that the model found nothing: the primary object of an empty mask, as a file.

    `left_out` marks were below the smallest size of a lesion.
    """
    created = now_at(source.origin)
    spec = replace(spec, created=created.isoformat(timespec="seconds"))
    summary = _summary(
        f"No {spec.labels[0]}",
        codes.ABSENT,
        _counts(0, left_out),
        stated(spec, created),
        source,
        spec,
    )
    report = _report(
        [summary],
        [source.origin],
        spec,
        series_instance_uid=spec.primary_series_uid,
        sop_instance_uid=spec.primary_instance_uid,
        series_number=series_number(spec, "primary"),
    )
    report.CurrentRequestedProcedureEvidenceSequence = evidence_of(source.evidence)
    stamp(report, created, source.origin)
    return _file(report, spec)


def measurement_report(  # noqa: PLR0917 - in the order of the sentence
    seg: Dataset,
    figures: Figures,
    lesions: Sequence[MeasuredLesion],
    left_out: int,
    model: StoredModel,
    source: Source,
    spec: ResultSpec,
) -> bytes:
    """Report of the lesions of a stored SEG and of its origin, as a Part 10 file, UNVERIFIED.

    `figures` are of all lesions together and `model` is the one that made the SEG. All else that
    is said of the run that made it is said as the SEG states it, date and time included.
    """
    facts = read_back(seg)
    spec = made_by(spec, model, seg)
    measured = [
        Measurement(
            codes.VOLUME,
            round(figures.volume_ml, VOLUME_DECIMALS),
            codes.MILLILITRE,
            derivation=codes.TOTAL,
        ),
        Measurement(
            codes.LONGEST_DIAMETER,
            round(figures.longest_diameter_mm, DIAMETER_DECIMALS),
            codes.MILLIMETRE,
            derivation=codes.MAXIMUM,
        ),
        *_counts(len(lesions), left_out),
    ]
    summary = _summary(
        f"All {spec.labels[0]}", codes.PRESENT, measured, for_report(facts), source, spec
    )
    groups = [
        group_of(found, seg, source.origin, _algorithm({}, [], spec), spec) for found in lesions
    ]
    report = _report(
        [summary, *groups],
        [source.origin, seg, *(found.widest.source for found in lesions)],
        spec,
        series_instance_uid=spec.report_series_uid,
        sop_instance_uid=spec.report_instance_uid,
        series_number=series_number(spec, "report"),
    )
    report.CurrentRequestedProcedureEvidenceSequence = evidence_of([seg, *source.evidence])
    stamp_alike(report, seg)
    return _file(report, spec)


def stated_count(report: Dataset, name: CodedConcept) -> int:
    """A number that the summary of a stored report states; 0 in one written before."""
    for item in _stated(report, (name.value, name.scheme_designator)):
        return int(item.MeasuredValueSequence[0].NumericValue)
    return 0


def stated_facts(report: Dataset) -> dict[str, str]:
    """What a stored report says of the run that made it: `provenance.read_back` of a SEG."""
    pairs = (str(item.TextValue).partition("=") for item in _stated(report, _PARAMETER))
    return {key: value for key, joined, value in pairs if joined}


def _stated(report: Dataset, concept: tuple[str, str]) -> Iterator[Dataset]:
    """The items of that concept in the groups of measurements, in their order."""
    measurements = next(
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == _MEASUREMENTS.value
    )
    for group in measurements.ContentSequence:
        for item in group.ContentSequence:
            code = item.ConceptNameCodeSequence[0]
            if (code.CodeValue, code.CodingSchemeDesignator) == concept:
                yield item


def evidence_of(instances: Sequence[Dataset | Reference]) -> list[Dataset]:
    """The instances of one study as Current Requested Procedure Evidence (PS3.3 table C.17-3)."""
    series: dict[str, dict[str, Dataset]] = {}
    for ds in instances:
        items, uid = series.setdefault(ds.SeriesInstanceUID, {}), ds.SOPInstanceUID
        # A multi-frame instance is one, however many slices it holds.
        if uid not in items:
            items[uid] = item = Dataset()
            # By tag, which is twice as fast as by name.
            item.add_new(_CLASS, "UI", ds.SOPClassUID)
            item.add_new(_INSTANCE, "UI", uid)
    study = Dataset()
    study.StudyInstanceUID = instances[0].StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for uid, items in series.items():
        one = Dataset()
        one.SeriesInstanceUID, one.ReferencedSOPSequence = uid, list(items.values())
        study.ReferencedSeriesSequence.append(one)
    return [study]


def _counts(lesions: int, left_out: int) -> list[Measurement]:
    return [
        Measurement(codes.NUMBER_OF_MARKS, lesions, codes.NO_UNITS),
        Measurement(codes.LEFT_OUT, left_out, codes.NO_UNITS),
    ]


def _summary(  # noqa: PLR0917 - as above
    name: str,
    found: CodedConcept,
    measurements: Sequence[Measurement],
    facts: Mapping[str, str],
    source: Source,
    spec: ResultSpec,
) -> MeasurementsAndQualitativeEvaluations:
    finding = codes.concept(spec.codes.type)
    return MeasurementsAndQualitativeEvaluations(
        # Of the request, so that the report of a stored SEG is the same whoever writes it.
        tracking_identifier=TrackingIdentifier(
            generate_uid(entropy_srcs=[spec.request_id, "summary"]), lo(name)
        ),
        finding_type=finding,
        algorithm_id=_algorithm(facts, source.inputs, spec),
        finding_sites=[FindingSite(codes.concept(spec.codes.site))],
        measurements=measurements,
        qualitative_evaluations=[QualitativeEvaluation(finding, found)],
    )


def _algorithm(
    facts: Mapping[str, str], inputs: Sequence[str], spec: ResultSpec
) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=spec.model_name,
        version=spec.model_version,
        parameters=[*(f"{key}={value}" for key, value in facts.items() if value), *inputs],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def _report(
    groups: Sequence[Any], named: Sequence[Dataset], spec: ResultSpec, **identity: Any
) -> ComprehensiveSR:
    """A report whose content refers to `named`; the first is a slice with patient and study.

    Its evidence is left to the caller: highdicom takes a tenth of a second for 500 slices.
    """
    complete(named[0])
    observer = ObserverContext(
        observer_type=dicom_codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[spec.lab, spec.model_sha256]),
            name=spec.lab,
            manufacturer_name=MANUFACTURER,
            model_name=spec.model_name,
            serial_number=spec.model_sha256,
        ),
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.concept(spec.codes.procedure),
        imaging_measurements=groups,
        title=dicom_codes.DCM.ImagingMeasurementReport,
    )
    return ComprehensiveSR(
        evidence=named,
        content=content,
        instance_number=1,
        is_complete=True,
        is_verified=False,
        # PS3.3 section C.17.2: the report that this one replaces.
        previous_versions=older_report(spec, named[0].StudyInstanceUID),
        series_description=description(spec),
        **equipment(spec),
        **identity,
    )


def _file(report: ComprehensiveSR, spec: ResultSpec) -> bytes:
    file_alike(report, spec.filing)
    buffer = BytesIO()
    report.save_as(buffer)
    return buffer.getvalue()
