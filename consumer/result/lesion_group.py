"""One lesion in a report: a measurement group (TID 1411) with its figures and its curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    Measurement,
    NumContentItem,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForMeasurement,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr.value_types import ContentSequence
from pydicom.uid import generate_uid

from consumer.result import codes
from consumer.result.kinetics import WashOut
from consumer.result.laterality import Laterality
from consumer.result.origin import LO_BYTES, lo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

    from consumer.dicom.enhanced import Image
    from consumer.payloads import ResultSpec
    from consumer.result.kinetics import Curve
    from consumer.result.lesions import Lesion

#: Decimals of the figures in a report: 0.1 mm^3 and 0.01 mm are finer than any voxel.
VOLUME_DECIMALS, DIAMETER_DECIMALS = 4, 2

#: Decimals of a curve: of its seconds and its percent.
SECOND_DECIMALS, PERCENT_DECIMALS = 1, 1

#: Digits of its signal, whose unit is the scanner's: some write thousands, some thousandths.
SIGNAL_DIGITS = 6

#: How the types of a curve are coded.
_PATTERNS = {
    WashOut.PERSISTENT: codes.PERSISTENT,
    WashOut.PLATEAU: codes.PLATEAU,
    WashOut.WASHOUT: codes.WASHOUT,
}

#: How the sides are coded.
_SIDES = {Laterality.LEFT: codes.LEFT, Laterality.RIGHT: codes.RIGHT}


@dataclass(frozen=True)
class MeasuredLesion:
    """A lesion of a stored SEG, measured."""

    lesion: Lesion
    #: Number of the segment that holds it; several lesions share one in SEGs written before.
    segment: int
    #: The slice of the phase to which the SEG refers in which its diameter is longest.
    widest: Image
    #: None where the model has not the phases for one.
    curve: Curve | None
    #: None where the model marks something else than lesions of the breast.
    laterality: Laterality | None = None


def group_of(
    found: MeasuredLesion,
    seg: Dataset,
    origin: Dataset,
    algorithm: AlgorithmIdentification,
    spec: ResultSpec,
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """The group of one lesion, which refers to its segment. `origin` is of that phase."""
    lesion = found.lesion
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(found, seg),
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=found.segment,
            source_series=SourceSeriesForSegmentation(origin.SeriesInstanceUID),
        ),
        finding_type=codes.concept(spec.codes.type),
        finding_category=codes.concept(spec.codes.category),
        algorithm_id=algorithm,
        finding_sites=[
            FindingSite(
                codes.concept(spec.codes.site),
                laterality=_SIDES.get(found.laterality) if found.laterality else None,
            )
        ],
        measurements=[
            Measurement(codes.VOLUME, round(lesion.volume_ml, VOLUME_DECIMALS), codes.MILLILITRE),
            Measurement(
                codes.LONGEST_DIAMETER,
                round(lesion.longest_diameter_mm, DIAMETER_DECIMALS),
                codes.MILLIMETRE,
            ),
            Measurement(
                codes.LONG_AXIS,
                round(lesion.longest_in_plane_mm, DIAMETER_DECIMALS),
                codes.MILLIMETRE,
                referenced_images=[_reference(found.widest)],
            ),
            *_kinetics(found.curve),
        ],
        qualitative_evaluations=[*_pattern(found.curve), *_no_side(found.laterality)],
    )


def label_of(found: MeasuredLesion, seg: Dataset) -> str:
    """What the lesion is called: as its segment, if that is its own."""
    segment = seg.SegmentSequence[found.segment - 1]
    name, number = str(segment.get("TrackingID") or segment.SegmentLabel), found.lesion.number
    if number == found.segment:
        return lo(name)
    return f"{lo(name, LO_BYTES - 4)}/{number}"


def _tracking(found: MeasuredLesion, seg: Dataset) -> TrackingIdentifier:
    segment = seg.SegmentSequence[found.segment - 1]
    if found.lesion.number == found.segment:
        return TrackingIdentifier(segment.TrackingUID, label_of(found, seg))
    # Of a SEG written before: its one segment is several lesions.
    uid = generate_uid(entropy_srcs=[segment.TrackingUID, str(found.lesion.number)])
    return TrackingIdentifier(uid, label_of(found, seg))


def _reference(image: Image) -> SourceImageForMeasurement:
    return SourceImageForMeasurement(
        image.source.SOPClassUID,
        image.source.SOPInstanceUID,
        None if image.frame is None else [image.frame],
    )


def _kinetics(curve: Curve | None) -> Iterator[Measurement]:
    """The mean signal of each phase, and the wash-in."""
    if curve is None:
        return
    for role, seconds, mean in zip(curve.roles, curve.seconds, curve.means, strict=True):
        point = Measurement(
            codes.SIGNAL_INTENSITY,
            float(f"{mean:.{SIGNAL_DIGITS}g}"),
            codes.NO_UNITS,
            derivation=codes.MEAN,
        )
        point[0].ContentSequence.extend(_when(role, seconds))
        yield point
    if curve.wash_in_percent is not None:
        percent = round(curve.wash_in_percent, PERCENT_DECIMALS)
        yield Measurement(codes.WASH_IN, percent, codes.PERCENT)


def _when(role: str, seconds: float | None) -> ContentSequence:
    """Which phase it is, and how long after the first, where that is known."""
    context: dict[str, Any] = {"relationship_type": RelationshipTypeValues.HAS_ACQ_CONTEXT}
    items = [TextContentItem(codes.CONTRAST_PHASE, role, **context)]
    if seconds is not None:
        items.append(
            NumContentItem(
                codes.AFTER_FIRST, round(seconds, SECOND_DECIMALS), codes.SECOND, **context
            )
        )
    return ContentSequence(items)


def _pattern(curve: Curve | None) -> list[QualitativeEvaluation]:
    if curve is None or curve.type is None:
        return []
    return [QualitativeEvaluation(codes.ENHANCEMENT_PATTERN, _PATTERNS[curve.type])]


def _no_side(laterality: Laterality | None) -> list[QualitativeEvaluation]:
    """That the side cannot be told; without it the report does not speak of sides."""
    if laterality is not Laterality.NOT_DETERMINED:
        return []
    return [QualitativeEvaluation(codes.LATERALITY, codes.UNDETERMINED)]
