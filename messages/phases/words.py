"""What the words of a series description say, in English, Korean and the vendors' shorthand."""

from __future__ import annotations

import re

#: What stands for the words of a description: lower case, everything but letters, digits and the
#: signs that carry meaning (a minus between two phases) turned into single spaces.
_SEPARATORS = re.compile(r"[^\w-]|_")

#: A word as a whole, with the digits that scanners put behind it (SUB1, MIP_2). A description is
#: matched word by word: "sub" is no part of "suppression", nor "t2" of "post2".
_WORD = r"(?<![^\W_]){}\d*(?![^\W_])"

#: "SUB" is also how "sub-study" and "sub-millimetre" begin, and may be what was not done.
_NO_SUBTRACTION = re.compile(
    r"\bnon?subs?\b|\b(without|w o|wo|no|non|not|before|for)[ -]+sub(s|tr\w*)?\b"
    r"|\bsub[ -]?(study|mm|millimet\w*|second|sec|optimal|group|cut\w*)\b"
)


#: Characters of a description that are looked at. An LO has 64 at most (PS3.5 6.2), and patterns
#: take their time over what a hostile file says.
_LONGEST = 256


def _any_of(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(_WORD.format(f"(?:{word})") for word in words))


#: Localizers: Siemens localizer and AAHScout, GE 3-plane loc, Philips survey.
LOCALIZER = re.compile(
    _any_of(
        r"local(?:i[sz]\w*)?",
        # "6 LOCS VIBRANT" are six locations.
        r"(?<![0-9] )locs?",
        r"\w*scout\w*",
        r"survey\w*",
        "3 ?-?(?:plane|pl)",
        "plan scan",
    ).pattern
    + "|로컬라이저|위치 ?결정|스카우트"
)

#: Differences of two phases: "SUB", "dSUB", "RegSub", "sDYN", also written as one ("post1-pre").
SUBTRACTION = re.compile(
    _any_of(
        r"[^\W_]*subs?",
        r"subs?tr\w*",
        r"differences?",
        "minus",
        # What Philips computes of a series begins with an s.
        r"sdyn[^\W\d_]*",
        # "dyn-pre" without a number is the dynamic scan before the contrast agent.
        r"(?:post ?\d*|(?:ph|phase|dyn) ?\d+|\d+(?:st|nd|rd|th)) ?- ?pre(?:contrast)?",
    ).pattern
    + "|감산|차감"
)

#: Two phases by their numbers with a minus between them, what GE writes before their names among
#: it: "dyn2-dyn1", "Dyn 3 - Dyn 1", "(Ph2/Ax VIBRANT)-(Ph1/Ax VIBRANT)".
_TWO_PHASES = re.compile(
    r"(?<![^\W_])(ph|phase|post|dyn|s|ser|series|tp) ?(\d{1,3})(?: [^\d-]{1,64})? ?- ?"
    r"\1 ?(\d{1,3})(?![^\W_])"
)

#: Projections and reformats.
PROJECTION = re.compile(
    _any_of(
        r"(?:[a-z]|min|max|thk|thick|sub)?mips?",
        "minip",
        "mipt",
        r"projections?",
        r"collapsed?",
        "mpr",
        "mpvr",
        r"reformat\w*",
        "rfmt",
        "vrt",
        "max(?:imum)? intensity",
    ).pattern
    + "|투영|최대강도"
)

#: Diffusion and what is computed from it.
DIFFUSION = re.compile(
    _any_of(
        r"dwi\w*",
        "dw",
        "diff",
        r"diffusion\w*",
        "[ed]?adc",
        "tracew?",
        "ep2d",
        "ivim",
        "dti",
        r"b ?(?:val\w*|\d{2,3})",
    ).pattern
    + "|확산"
)

#: T2 and other spin echoes. A dynamic scan is a T1 gradient echo.
OTHER_WEIGHTING = re.compile(
    _any_of(
        r"e?t2[a-z]*",
        "stir",
        "tirm",
        "flair",
        "haste",
        "ssfse",
        "frfse",
        "tse",
        "fse",
        "pdw?",
        r"proton densit\w*",
    ).pattern
    + "|t2강조"
)

#: Computed maps. "WI" and "WO" are wash-in and wash-out behind the name of a dynamic scan, and
#: otherwise "weighted image" and "without".
PARAMETER_MAP = re.compile(
    _any_of(
        "maps?",
        "mapit",
        "ktrans",
        "kep",
        "iaugc",
        r"i?auc\w*",
        "ttp",
        "pei",
        r"wash ?-?(?:in|out)",
        # Signal enhancement ratio; "Ser 5" is a series.
        r"ser(?! ?\d)",
        r"(?:max|maximum|rel|relative|peak|percent\w*) ?enh\w*",
        "slopes?",
        "cad",
        r"colou?r",
    ).pattern
    + r"|^w[io]$|(?<![^\W_])dyn.*(?<!t1)(?<!t2) w[io]$"
)

#: What is no image of the breast over time at all.
NOT_DYNAMIC = re.compile(
    _any_of(
        r"calib\w*",
        "cal",
        r"(?:test|care|smart) ?-?bolus",
        r"bolus ?(?:track|trak|timing)\w*",
        r"test ?-?inj\w*",
        "timing",
        "smartprep",
        r"(?:ref|reference|senseref|coil sens\w*) ?-?scan",
        "senseref",
        "shim",
        r"field ?-?map\w*",
        r"spectro\w*",
        "svs",
        "mrs",
        r"\w*report",
        r"screen ?(?:save|capture)\w*",
    ).pattern
)

#: Images before the contrast agent.
PRE = re.compile(
    _any_of("pre", r"pre ?-?con\w*", "unenhanced", "native", "non ?-?con(?:trast)?").pattern
    + "|조영 ?전|비조영"
)

#: Images after the contrast agent.
POST = re.compile(
    _any_of("post", r"post ?-?con\w*", "delayed", "late").pattern + "|조영 ?후|지연기"
)

#: A run that was acquired once more.
REPEAT = re.compile(
    _any_of(r"repeat\w*", "rpt", "re ?-?(?:run|do|scan)", "again").pattern + "|재촬영|재검"
)

#: Fat, in-phase or opposed-phase images of a Dixon scan: Siemens writes the part last (_F, _in,
#: _opp), GE first ("FAT: Ax LAVA"). "FAT SAT" is no such part.
DIXON_PART = re.compile(r"^(fat|in ?-?phase|out ?-?phase)\s*:|[_ ](f|in|opp|ip|op)$")

#: The water images of such a scan.
DIXON_WATER = re.compile(r"^water\s*:|[_ ]w$")


def plain(description: str) -> str:
    """The description as the patterns here want it; what is longer than any is cut."""
    return " ".join(_SEPARATORS.sub(" ", description[:_LONGEST].lower()).split())


def says_subtraction(words: str) -> bool:
    """Whether the `plain` words name a subtraction and not a sub-study or what was not done."""
    if SUBTRACTION.search(_NO_SUBTRACTION.sub(" ", words)):
        return True
    # "Ph1-Ph5" is a run: what is subtracted was acquired before.
    return any(int(later) > int(earlier) for _, later, earlier in _TWO_PHASES.findall(words))
