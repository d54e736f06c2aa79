"""The options of a run by hand, read and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from messages.phases.numbering import place_of
from messages.phases.parts import FRAME_PHASE_KEYWORDS, NUMBER_KEYWORD

#: ``post1=2/TemporalPositionIdentifier:3``: role, place among the series ids, keyword, value.
_PHASE_OPTION = re.compile(
    r"(?P<role>[a-z0-9_-]{1,64})="
    r"(?:(?P<place>[1-9][0-9]?)(?:/(?=.)|$))?"
    r"(?:(?P<keyword>[A-Za-z]{1,64}):(?P<value>[0-9.:+-]{1,32}))?"
)


#: What may tell phases apart, the numbering of the images as the last resort.
_KEYWORDS = (*FRAME_PHASE_KEYWORDS, NUMBER_KEYWORD)


class CannotInfer(Exception):
    """What was typed cannot be run: an option is wrong. The text is one sentence."""


@dataclass(frozen=True)
class PhaseOption:
    """One ``--phase``: the engineer says what a role is, and nothing is looked for."""

    role: str
    #: Place among the series ids, from 1; None when there is one series only.
    place: int | None
    #: DICOM keyword and value that pick the phase; both empty for the whole series.
    keyword: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``role=keyword:value``, ``role=N/keyword:value`` or ``role=N``.

        Raises `CannotInfer`.
        """
        match = _PHASE_OPTION.fullmatch(text)
        if match is None or not (match["place"] or match["keyword"]):
            raise CannotInfer(
                "--phase takes role=keyword:value, role=N/keyword:value or role=N, where N is the "
                "place of the series among --series-ids"
            )
        keyword = match["keyword"] or ""
        if keyword and keyword not in _KEYWORDS:
            raise CannotInfer(f"--phase knows the keywords {', '.join(_KEYWORDS)}")
        if keyword == NUMBER_KEYWORD and place_of(match["value"]) is None:
            raise CannotInfer(
                f"--phase takes {NUMBER_KEYWORD}:N:COUNT, the Nth of COUNT images at each place"
            )
        place = int(match["place"]) if match["place"] else None
        return cls(match["role"], place, keyword, match["value"] or "")


@dataclass(frozen=True)
class InferOptions:
    """The options of the command."""

    #: Orthanc ids; in the order of the model's roles when there is one for each.
    series_ids: tuple[str, ...]
    #: A bundle's name; may be left out where there is one bundle.
    model: str | None
    #: Probability from which a voxel counts.
    threshold: float
    #: Store SEG and SR in the archive, as a new result.
    upload: bool
    #: Folder for the files of SEG and SR; None writes none.
    out: Path | None
    #: Empty: the phases are looked for.
    phases: tuple[PhaseOption, ...] = ()


def parse_phase_options(texts: Sequence[str]) -> tuple[PhaseOption, ...]:
    """Every ``--phase``. Raises `CannotInfer`, also when a role comes twice."""
    found = tuple(PhaseOption.parse(text) for text in texts)
    if len({one.role for one in found}) != len(found):
        raise CannotInfer("--phase names a role twice")
    return found
