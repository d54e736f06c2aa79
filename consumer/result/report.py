"""Structured reports (TID 1500): the measurements of a SEG, or that nothing was found."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.uid import generate_uid

from consumer.result import codes
from consumer.result.origin import (
    MANUFACTURER,
    PRIMARY_SERIES_NUMBER,
    REPORT_SERIES_NUMBER,
    complete,
    description,
    equipment,
    facts,
    lo,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from consumer.handover import Figures, ResultSpec

#: Decimals of the figures in the report: 0.1 mm^3 and 0.01 mm are finer than any voxel.
VOLUME_DECIMALS, DIAMETER_DECIMALS = 4, 2


def no_lesion_report(
    origin: Dataset, evidence: Sequence[Dataset], inputs: Sequence[str], spec: ResultSpec
) -> bytes:
    """Report that the model found nothing: the primary object of an empty mask, as a file.

    `origin` is a slice of the first phase, from which patient and study are copied; `evidence`
    holds the four UIDs of every slice of every phase; `inputs` says which series was which
    phase. One qualitative group, because TID 1500 without any group is refused by highdicom.
    """
    finding = codes.concept(spec.codes.type)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            generate_uid(prefix=None), lo(f"No {spec.labels[0]}")
        ),
        finding_type=finding,
        algorithm_id=_algorithm(inputs, spec),
        finding_sites=[FindingSite(codes.concept(spec.codes.site))],
        qualitative_evaluations=[QualitativeEvaluation(finding, codes.ABSENT)],
    )
    return _report(
        [group],
        [origin, *evidence],
        spec,
        series_instance_uid=spec.primary_series_uid,
        sop_instance_uid=spec.primary_instance_uid,
        series_number=PRIMARY_SERIES_NUMBER,
    )


def measurement_report(  # noqa: PLR0917 - the first three in the order of the sentence
    seg: Dataset,
    figures: Figures,
    origin: Dataset,
    evidence: Sequence[Dataset],
    inputs: Sequence[str],
    spec: ResultSpec,
) -> bytes:
    """Report of volume and longest diameter of a stored SEG, as a Part 10 file, UNVERIFIED.

    The other arguments are as in `no_lesion_report`. All segments are measured together, and
    the group refers to the first.
    """
    segment = seg.SegmentSequence[0]
    finding = codes.concept(spec.codes.type)
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(segment.TrackingUID, segment.TrackingID),
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=1,
            source_series=SourceSeriesForSegmentation(origin.SeriesInstanceUID),
        ),
        finding_type=finding,
        finding_category=codes.concept(spec.codes.category),
        algorithm_id=_algorithm(inputs, spec),
        finding_sites=[FindingSite(codes.concept(spec.codes.site))],
        measurements=[
            Measurement(codes.VOLUME, round(figures.volume_ml, VOLUME_DECIMALS), codes.MILLILITRE),
            Measurement(
                codes.LONGEST_DIAMETER,
                round(figures.longest_diameter_mm, DIAMETER_DECIMALS),
                codes.MILLIMETRE,
            ),
        ],
    )
    return _report(
        [group],
        [origin, seg, *evidence],
        spec,
        series_instance_uid=spec.report_series_uid,
        sop_instance_uid=spec.report_instance_uid,
        series_number=REPORT_SERIES_NUMBER,
    )


def _algorithm(inputs: Sequence[str], spec: ResultSpec) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=spec.model_name,
        version=spec.model_version,
        parameters=[*(f"{key}={value}" for key, value in facts(spec).items()), *inputs],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def _report(
    groups: Sequence[Any], evidence: Sequence[Dataset], spec: ResultSpec, **identity: Any
) -> bytes:
    complete(evidence[0])
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
    made_by = equipment(spec)
    report = ComprehensiveSR(
        evidence=evidence,
        content=content,
        instance_number=1,
        is_complete=True,
        is_verified=False,
        series_description=description(spec),
        **made_by,
        **identity,
    )
    buffer = BytesIO()
    report.save_as(buffer)
    return buffer.getvalue()
