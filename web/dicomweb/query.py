"""The parameters that a DICOMweb call may have, and what may stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from web.dicomweb.forms import Kind

#: Studies that one search may name.
MOST_STUDIES = 16

#: What names a study in a search: by keyword and by tag.
STUDY_KEYS = frozenset({"StudyInstanceUID", "0020000D"})

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")

_COUNT = re.compile(r"[0-9]{1,5}")
_FIELDS = re.compile(r"[0-9A-Za-z.,]{1,2000}")
_UIDS = re.compile(r"[0-9.,\\]{1,2000}")
_CODE = re.compile(r"[A-Z0-9]{1,16}")
_BOOLEAN = re.compile(r"true|false")

_ANY_SEARCH = {
    "limit": _COUNT,
    "offset": _COUNT,
    "includefield": _FIELDS,
    "fuzzymatching": _BOOLEAN,
}

_INSIDE_A_STUDY = {
    "Modality": _CODE,
    "00080060": _CODE,
    "SeriesInstanceUID": _UIDS,
    "0020000E": _UIDS,
    "SOPInstanceUID": _UIDS,
    "00080018": _UIDS,
    "SOPClassUID": _UIDS,
    "00080016": _UIDS,
    "SeriesNumber": _COUNT,
    "00200011": _COUNT,
    "InstanceNumber": _COUNT,
    "00200013": _COUNT,
}

_RENDERING = {
    "quality": re.compile(r"[0-9]{1,3}"),
    "viewport": re.compile(r"[-0-9.,]{1,100}"),
    "window": re.compile(r"[-0-9.]{1,20},[-0-9.]{1,20},[a-z-]{1,20}"),
}

_ALLOWED: Mapping[Kind, Mapping[str, re.Pattern[str]]] = {
    Kind.STUDIES: _ANY_SEARCH | dict.fromkeys(STUDY_KEYS, _UIDS),
    Kind.SEARCH: _ANY_SEARCH | _INSIDE_A_STUDY,
    Kind.RENDERED: _RENDERING,
}


class QueryNotAllowed(Exception):
    """A parameter is not among those that are passed on, or its value is not of its form."""


def checked(kind: Kind, parameters: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the parameters if each is allowed; raises `QueryNotAllowed`."""
    allowed = _ALLOWED.get(kind, {})
    passed = list(parameters)
    for name, value in passed:
        form = allowed.get(name)
        if form is None or form.fullmatch(value) is None:
            raise QueryNotAllowed("a parameter is not passed on")
    return passed


def studies_named(parameters: Sequence[tuple[str, str]]) -> list[str]:
    """The UIDs of the studies that a search names, each once; raises `QueryNotAllowed`.

    Without any the search would be for every study, and whom they are of.
    """
    named: dict[str, None] = {}
    for name, value in parameters:
        if name in STUDY_KEYS:
            named |= dict.fromkeys(re.split(r"[,\\]", value))
    wrong = [uid for uid in named if len(uid) > 64 or _UID.fullmatch(uid) is None]
    if not named or wrong or len(named) > MOST_STUDIES:
        raise QueryNotAllowed("a search for studies must name them")
    return list(named)
