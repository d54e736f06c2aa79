"""What a series is by its image type, its words and its scan: dynamic, or why it is not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from messages.phases import words
from messages.phases.facts import SeriesFacts
from messages.phases.values import number_of


class LeftOut(StrEnum):
    """Why a series takes no part."""

    #: Modality is not MR: an earlier result, a report, a capture.
    NOT_MR = "not_mr"
    #: A localizer, scout or survey.
    LOCALIZER = "localizer"
    #: A difference of two phases.
    SUBTRACTION = "subtraction"
    #: A projection (MIP) or another reformat of acquired slices.
    PROJECTION = "projection"
    #: T2, STIR, proton density or another spin echo.
    OTHER_WEIGHTING = "other_weighting"
    #: Diffusion, or a map computed from it.
    DIFFUSION = "diffusion"
    #: A map of computed values: Ktrans, wash-in, time to peak, T1.
    PARAMETER_MAP = "parameter_map"
    #: Phase, real or imaginary part of the signal in place of its magnitude.
    PHASE_IMAGE = "phase_image"
    #: Fat, in-phase or opposed-phase images of a Dixon scan whose water images are there.
    DIXON_PART = "dixon_part"
    #: Several slices in one image: a mosaic.
    TILED = "tiled"
    #: Rows that are stored the other way round than the header says.
    TURNED = "turned"
    #: Compressed with loss.
    LOSSY = "lossy"
    #: An attribute that a volume needs is absent.
    MISSING_ATTRIBUTE = "missing_attribute"
    #: Such an attribute is not what it must be.
    MALFORMED = "malformed"
    #: Of a size that no MR scanner makes.
    IMPLAUSIBLE = "implausible"
    #: Calibration, bolus timing, spectroscopy or a report.
    NOT_DYNAMIC = "not_dynamic"
    #: Computed from other images: an earlier result (DERIVED, SECONDARY), or whatever is DERIVED
    #: where images of the same scan are ORIGINAL.
    DERIVED = "derived"
    #: Several phases that cannot be told apart, and too few images for the whole run.
    UNCLEAR = "unclear"
    #: Another number of slices than the dynamic phases have.
    OTHER_SLICE_COUNT = "other_slice_count"
    #: Another grid than the dynamic phases have: orientation, spacing, size or place.
    OTHER_GRID = "other_grid"
    #: The grid of the dynamic phases, but another fat saturation or echo time: a static T1.
    OTHER_CONTRAST = "other_contrast"
    #: Carries no acquisition time, so its place in time is unknown.
    NO_TIME = "no_time"
    #: Between the second and the last phase; the model takes four.
    BETWEEN = "between"


#: Attributes of a scan that tell what it weighs; those of `SeriesFacts.scan` that are looked at.
SCAN_KEYWORDS: tuple[str, ...] = (
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "ProtocolName",
    "ScanOptions",
    "DiffusionBValue",
    "EchoTime",
    "ComplexImageComponent",
    "TemporalResolution",
    "NumberOfTemporalPositions",
)

#: ms from which an echo is no T1 gradient echo any more: dynamic scans have 1 to 5, T2 60 to 120.
_LONG_ECHO_MS = 30.0

#: Characters of one value of ImageType that are looked at; a CS has 16 at most, vendors write more.
_LONGEST_VALUE = 64

#: Values of ImageType (PS3.3 C.8.3.1.1.1 and C.8.16.1, and what vendors add), looked for behind
#: the second one: what they mean for the image.
_IMAGE_TYPES: tuple[tuple[LeftOut, re.Pattern[str]], ...] = (
    (LeftOut.LOCALIZER, re.compile("localizer")),
    (LeftOut.SUBTRACTION, re.compile(r"subs?\d*|subtract(ion|ed)?")),
    (
        LeftOut.PROJECTION,
        re.compile(
            r"(.*[ _])?(mip|mpr|minip)([ _].*)?|(max|min)_ip|maximum|minimum|.*projection.*"
            r"|reformatted|resampled|collapse|vrt?|volume_render"
        ),
    ),
    (
        LeftOut.DIFFUSION,
        re.compile(r"[de]?adc|tracew?|diffusion.*|fa|colfa|tensor|calc_bvalue|exp_adc|epi_dwi"),
    ),
    # The third value of Enhanced MR names the contrast.
    (LeftOut.OTHER_WEIGHTING, re.compile(r"t2(_star|_flair)?|t2\*|stir|proton_density")),
    (
        LeftOut.PARAMETER_MAP,
        re.compile(
            r"(t1|t2|t2\*|r2\*|b0|b1|perfusion|color)[ _]map|wash[-_ ]?(in|out)|w[io]|pei|ser"
            r"|(.*[ _])?enhancement|slope|ttp|mtt|ktrans|kep"
            r"|iaugc|rcb[fv]|z_score|t_test|std_deviation|mean"
        ),
    ),
    (LeftOut.PHASE_IMAGE, re.compile(r"p|phase([ _]map)?|r|real|i|imaginary")),
)

#: Values of ComplexImageComponent (PS3.3 C.8.13.3.1.2) beside MAGNITUDE and, of an object, MIXED.
_PHASE_COMPONENTS = frozenset({"PHASE", "REAL", "IMAGINARY"})

#: Words of the description, the most telling first: a MIP of subtractions is a projection.
_WORDS: tuple[tuple[LeftOut, re.Pattern[str]], ...] = (
    (LeftOut.LOCALIZER, words.LOCALIZER),
    (LeftOut.PROJECTION, words.PROJECTION),
    (LeftOut.DIFFUSION, words.DIFFUSION),
    (LeftOut.OTHER_WEIGHTING, words.OTHER_WEIGHTING),
    (LeftOut.NOT_DYNAMIC, words.NOT_DYNAMIC),
    (LeftOut.PARAMETER_MAP, words.PARAMETER_MAP),
)

#: Fat saturation among the values of ScanOptions (Siemens writes SFS for SPAIR).
_FAT_SATURATION = re.compile(r"\bS?FS\b")

#: Share by which the echo times of one scan may differ between its repetitions.
_SAME_ECHO = 0.1

#: Values of ImageType of the other parts of a Dixon scan (Siemens, Philips).
_DIXON_TYPES = frozenset({"fat", "f", "in_phase", "opp_phase", "out_phase", "ip", "op"})

#: SequenceName as Siemens writes it, often with a star before it: echo planar, spin echo.
_ECHO_PLANAR = re.compile(r"\*?(ep|re_b).*")
_SPIN_ECHO = re.compile(r"\*?(tse|tir|se|h2d|h3d|spc|qtse|haste).*")


def kind_of(series: SeriesFacts, *, dynamic: bool = True) -> LeftOut | None:
    """Why the series is no phase of a dynamic scan, or None when nothing says so.

    Without `dynamic` the tags of the scan do not count: a model of one image may take any.
    """
    if series.modality != "MR":
        return LeftOut.NOT_MR
    return (
        _by_image_type(series.image_type)
        or _by_component(series.scan)
        or _by_words(series)
        or (_by_scan(series.scan) if dynamic else None)
        or _by_origin(series.image_type)
    )


def dixon_parts(series: Sequence[SeriesFacts]) -> set[str]:
    """Ids of the fat, in-phase and opposed-phase series, where water images are there too."""
    parts, water = set(), False
    for item in series:
        types = {value.strip().lower() for value in item.image_type[2:]}
        text = item.description.strip().lower()
        if types & {"water", "w"} or words.DIXON_WATER.search(text):
            water = True
        elif types & _DIXON_TYPES or words.DIXON_PART.search(text):
            parts.add(item.series_id)
    return parts if water else set()


def same_contrast(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """Whether two scans may be repetitions of one, as far as their tags tell.

    Fat saturation and echo time are set once for all phases; what one scan does not say counts
    as equal.
    """
    options = [scan.get("ScanOptions", "").upper() for scan in (a, b)]
    if all(options) and len({bool(_FAT_SATURATION.search(text)) for text in options}) > 1:
        return False
    echoes = [number_of(scan.get("EchoTime", "")) for scan in (a, b)]
    first, other = (echo or 0.0 for echo in echoes)
    return not first or not other or math.isclose(first, other, rel_tol=_SAME_ECHO)


def _by_image_type(image_type: Sequence[str]) -> LeftOut | None:
    values = [value.strip().lower()[:_LONGEST_VALUE] for value in image_type[2:]]
    return next(
        (
            reason
            for reason, pattern in _IMAGE_TYPES
            if any(pattern.fullmatch(value) for value in values)
        ),
        None,
    )


def _by_component(scan: Mapping[str, str]) -> LeftOut | None:
    component = scan.get("ComplexImageComponent", "").strip().upper()
    return LeftOut.PHASE_IMAGE if component in _PHASE_COMPONENTS else None


def _by_words(series: SeriesFacts) -> LeftOut | None:
    text = words.plain(series.description or series.scan.get("ProtocolName", ""))
    found = next((reason for reason, pattern in _WORDS if pattern.search(text)), None)
    return found or (LeftOut.SUBTRACTION if words.says_subtraction(text) else None)


def _by_scan(scan: Mapping[str, str]) -> LeftOut | None:
    sequence = set(scan.get("ScanningSequence", "").upper().replace(",", "\\").split("\\"))
    name = scan.get("SequenceName", "").strip().lower()
    gradient_echo = "GR" in sequence
    if _positive(scan.get("DiffusionBValue", "")) or _ECHO_PLANAR.fullmatch(name):
        return LeftOut.DIFFUSION
    # A gradient echo may be prepared by an inversion or read out in segments of an EPI.
    if "EP" in sequence and not gradient_echo:
        return LeftOut.DIFFUSION
    if _SPIN_ECHO.fullmatch(name) or (sequence & {"SE", "IR"} and not gradient_echo):
        return LeftOut.OTHER_WEIGHTING
    echo = number_of(scan.get("EchoTime", ""))
    return LeftOut.OTHER_WEIGHTING if echo is not None and echo >= _LONG_ECHO_MS else None


def is_derived(image_type: Sequence[str]) -> bool:
    """Whether the pixels were computed from other images (PS3.3 C.7.6.1.1.2)."""
    return any(value.strip().upper() == "DERIVED" for value in image_type[:1])


def _by_origin(image_type: Sequence[str]) -> LeftOut | None:
    # DERIVED alone is also a filter or the water part of a Dixon scan; with SECONDARY it was made
    # after the scan: an earlier result, a registration, a capture.
    origin = [value.strip().upper() for value in image_type[:2]]
    return LeftOut.DERIVED if origin == ["DERIVED", "SECONDARY"] else None


def _positive(text: str) -> bool:
    numbers = [number_of(part) for part in text.split("\\")]
    return any(number is not None and number > 0 for number in numbers)
