"""What is asked of each series and each study, and what the answers amount to."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import MRImageStorage

import consumer
from consumer.payloads import VolumeHeader
from messages.phases import DCE_ROLES, SeriesFacts
from tests.datasets import readers
from tests.datasets.comparison import POSITION_MM, differs, frames_differ
from tests.datasets.finding import FoundSeries
from tests.datasets.readers import CannotRead, SimpleItk, Volume
from tests.datasets.sides import (
    Answer,
    Archive,
    Input,
    Lab,
    Reading,
    detail_of,
    hand_says,
    path_of,
    proposal,
    site_says,
)
from tests.dciodvfy import dicom_errors
from web.phases.studies import SeriesDetail, StudyDetail

#: Phases of one series that are each read alone: the first and the last.
_ALONE = (0, -1)

#: Files of a series of which a run by hand is asked: it reads the tags of one after the other.
_BY_HAND_FILES = 600

#: What may look like the name of an exception in a sentence: words joined by capitals.
_JOINED = re.compile(r"\b(?:[A-Z][a-z0-9]+){2,}\b|\b[A-Z]+[a-z]+(?:Error|Exception|Warning)\b")


@cache
def _exceptions() -> frozenset[str]:
    """The names of all exceptions that the lab's modules and their libraries know."""
    for module in pkgutil.walk_packages(consumer.__path__, "consumer."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds: list[type[BaseException]] = [BaseException]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.__name__ for kind in kinds)


@dataclass(frozen=True)
class Tools:
    """What the questions are asked of."""

    archive: Archive
    lab: Lab
    itk: SimpleItk


def judged(tools: Tools, name: str, series: Sequence[FoundSeries]) -> Iterator[dict[str, Any]]:
    """One line for each series of a study, and one for the study."""
    by_uid = {one.series_uid: one for one in series}
    items = [item for one in series for item in one.items]
    with tools.archive.holding(items) as (studies, refused):
        # One study of the files is several of the archive where their patients differ.
        details = [detail_of(tools.archive, study_id) for study_id in studies]
        has_result = False
        for one in series:
            detail, shown = _shown(details, one)
            study_id = detail.study_id if detail else ""
            offer = _offer(detail, shown)
            rows: list[dict[str, Any]] = []
            for number, (title, inputs) in enumerate(_inputs(one, shown)):
                row = _asked(
                    tools,
                    study_id,
                    title,
                    inputs,
                    by_uid,
                    left_out=offer["left_out"],
                    by_hand=number < 2 and len(one.items) <= _BY_HAND_FILES,
                    # One result for each study: what is copied of patient and study is the same.
                    with_result=not has_result,
                )
                has_result = has_result or "result" in row
                rows.append(row)
            yield {
                "kind": "series",
                "set": name,
                "series": one.key,
                "place": one.place,
                "copy": one.copy,
                "modality": one.modality,
                "instances": len(one.items),
                "stored": shown is not None,
                **offer,
                "inputs": rows,
            }
        yield {
            "kind": "study",
            "set": name,
            "study": _short(series[0].study_uid),
            "copy": series[0].copy,
            "place": series[0].place,
            "series": len(series),
            "not_stored": refused,
            "shown": all(details),
            "clicks": [_click(tools, detail, by_uid) for detail in details if detail],
        }


def class_names(sentence: str) -> list[str]:
    """The names of exceptions in a sentence."""
    return [
        word
        for word in _JOINED.findall(sentence)
        if word in _exceptions() or word.endswith(("Error", "Exception", "Warning"))
    ]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _shown(
    details: Sequence[StudyDetail | None], one: FoundSeries
) -> tuple[StudyDetail | None, SeriesDetail | None]:
    """The series on the page of its study: where it is whole."""
    found = [
        (item.facts.instance_count, detail, item)
        for detail in details
        for item in (detail.series if detail else ())
        if item.series_uid == one.series_uid
    ]
    return max(found, key=lambda each: each[0])[1:] if found else (None, None)


def _offer(detail: StudyDetail | None, shown: SeriesDetail | None) -> dict[str, Any]:
    """What the site knows of a series, and whether it would propose it to a one-phase model."""
    if detail is None or shown is None:
        return {"phases": 0, "unclear": "", "offered": False, "left_out": "", "problem": ""}
    offer = proposal(detail, ("image",), shown.series_id)
    facts: SeriesFacts = shown.facts
    return {
        "phases": len(facts.phases),
        "told_by": facts.phases[0].keyword if facts.phases else "",
        "unclear": str(facts.unclear or ""),
        "offered": any(role.phase is not None for role in offer.roles),
        "left_out": offer.left_out.get(shown.series_id, ""),
        "problem": offer.problem,
    }


def _inputs(one: FoundSeries, shown: SeriesDetail | None) -> list[tuple[str, list[Input]]]:
    """The whole series; of several phases the first, second and last, and four together."""
    series_id = shown.series_id if shown else ""
    asked = [("whole", [Input("image", one.series_uid, series_id)])]
    phases = shown.facts.phases if shown else ()
    named = [(phase.keyword, phase.value) for phase in phases if phase.keyword]
    if len(named) < 2:
        return asked
    for place in _ALONE:
        keyword, value = named[place]
        title = f"phase {keyword} {value}"
        if title not in [known for known, _ in asked]:
            asked.append((title, [Input("image", one.series_uid, series_id, keyword, value)]))
    if len(named) >= len(DCE_ROLES):
        four = [named[place] for place in (0, 1, 2, -1)]
        asked.append(
            (
                "four phases",
                [
                    Input(role, one.series_uid, series_id, *phase)
                    for role, phase in zip(DCE_ROLES, four, strict=True)
                ],
            )
        )
    return asked


def _asked(
    tools: Tools,
    study_id: str,
    title: str,
    inputs: list[Input],
    series: dict[str, FoundSeries],
    *,
    left_out: str = "",
    by_hand: bool = True,
    with_result: bool = True,
) -> dict[str, Any]:
    """One input asked of all sides, and of the two readers where the lab reads it."""
    began = time.monotonic()
    stored = bool(study_id and inputs[0].series_id)
    site = site_says(tools.archive, study_id, inputs) if stored else None
    hand = hand_says(tools.archive, inputs) if stored and by_hand else None
    with tools.lab.reading(inputs, series) as read:
        lab, header, voxels = read.answer, read.header, read.voxels
        row: dict[str, Any] = {
            "input": title,
            "lab": lab.as_json(),
            "site": site.as_json() if site else None,
            "hand": hand.as_json() if hand else None,
        }
        if header is not None and voxels is not None:
            row["volume"] = _volume(header, voxels)
            if len(inputs) == 1:
                row["readers"] = _compared(tools, header, voxels, series[inputs[0].series_uid])
            if with_result:
                row["result"] = _result(tools.lab, read)
    row["sides"] = _sides(lab, site, left_out)
    row["by_hand"] = _sides(lab, hand)
    said = [one.sentence for one in (lab, site, hand) if one] + [
        doubt for one in (site, hand) if one for doubt in one.doubts
    ]
    row["class_names"] = sorted({name for text in said for name in class_names(text)})
    row["seconds"] = round(time.monotonic() - began, 2)
    return row


def _result(lab: Lab, read: Reading) -> dict[str, Any]:
    """What dciodvfy finds in SEG and report of the input, by their number alone in the tables."""
    made = lab.result_of(read)
    with tempfile.TemporaryDirectory() as folder:
        errors = [error for data in made.objects for error in dicom_errors(data, Path(folder))]
    return {**made.answer.as_json(), "objects": len(made.objects), "errors": errors}


def _volume(header: VolumeHeader, voxels: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(header.shape),
        "spacing": [round(value, 4) for value in header.spacing],
        "affine_lps": [[round(value, 4) for value in row] for row in header.affine_lps],
        "checksum": hashlib.sha256(voxels.tobytes()).hexdigest()[:16],
    }


def _sides(lab: Answer, other: Answer | None, left_out: str = "") -> str:
    """How the lab and who is asked before it agree."""
    if other is None:
        return "not asked"
    if lab.taken and other.taken:
        return "both take it"
    if not lab.taken and not other.taken:
        return "both refuse" if lab.code == other.code else "both refuse, by other codes"
    if lab.taken:
        return "only the lab takes it"
    if other.doubts or left_out:
        return (
            "doubted before the lab refuses" if other.doubts else "left out before the lab refuses"
        )
    return "only the lab refuses"


def _compared(
    tools: Tools, header: VolumeHeader, voxels: np.ndarray, one: FoundSeries
) -> dict[str, str]:
    """For each reader: ``agrees``, ``disagrees: how`` or ``cannot: why``."""
    paths = path_of(one.items)
    used = list(dict.fromkeys(uid for _, uid in header.instances[0]))
    files = [paths[uid] for uid in used]
    several = header.instances[0][0][0] != MRImageStorage
    ours = Volume(voxels[0], np.array(header.affine_lps))

    def itk() -> str:
        theirs = tools.itk.volumes(files, several_frames=several)
        if several:
            return frames_differ(ours, theirs)
        return settled(differs(ours, theirs), theirs)

    def niix() -> str:
        theirs = readers.dcm2niix_volumes(files)
        return settled(differs(ours, theirs), theirs)

    def settled(how: str, theirs: Sequence[Volume]) -> str:
        return _settled(how, ours, theirs, header, paths) if how else ""

    said = {}
    for name, ask in (("SimpleITK", itk), ("dcm2niix", niix)):
        if name == "dcm2niix" and not readers.has_dcm2niix():
            said[name] = "cannot: not installed"
            continue
        try:
            how = ask()
        except CannotRead as reason:
            said[name] = f"cannot: {reason}"
        else:
            said[name] = (
                how if how.startswith("agrees") else f"disagrees: {how}" if how else "agrees"
            )
    return said


def _settled(
    how: str,
    ours: Volume,
    theirs: Sequence[Volume],
    header: VolumeHeader,
    paths: dict[str, Path],
) -> str:
    """Let the files decide what a reader may see otherwise than they say; `how` where they do not.

    dcm2niix takes the distance of slices from the first two or from their thickness, a scale from
    private attributes, and time points of one frame each for slices.
    """
    used = dict.fromkeys(uid for _, uid in header.instances[0])
    files = [dcmread(paths[uid], stop_before_pixels=True) for uid in used]
    if how.startswith("distance") and _lies_there(ours, header, files):
        return f"agrees but for the {how}; the files say ours"
    if how.startswith("scale") and not any("RescaleSlope" in ds for ds in files):
        return f"agrees but for the {how}; the images state no rescale"
    one_place = len(files) == 1 and "PlanePositionSequence" in next(
        iter(files[0].get("SharedFunctionalGroupsSequence") or [()])
    )
    # dcm2niix counts rows from below.
    either = [*theirs, *(Volume(one.voxels[:, ::-1], None) for one in theirs)]
    if how.startswith("shape") and one_place and not frames_differ(ours, either):
        return f"agrees but for the {how}; the file says one place"
    return how


def _lies_there(ours: Volume, header: VolumeHeader, files: Sequence[Dataset]) -> bool:
    """Whether the files say of every slice that it lies where ours does."""
    said = {}
    for ds in files:
        frames = ds.get("PerFrameFunctionalGroupsSequence") or []
        own = [[ds]] if not frames else [item.get("PlanePositionSequence") or [] for item in frames]
        for group in own:
            for item in group:
                place = item.get("ImagePositionPatient")
                if place is not None:
                    at = tuple(float(value) for value in place)
                    said[at] = np.array(at)
    lies = np.array(list(said.values()))
    for number in range(len(header.instances[0])):
        wanted = (ours.affine @ [number, 0, 0, 1])[:3]
        if not len(lies) or np.linalg.norm(lies - wanted, axis=1).min() > POSITION_MM:
            return False
    return True


def _click(tools: Tools, detail: StudyDetail, series: dict[str, FoundSeries]) -> dict[str, Any]:
    """The four phases that the site proposes of the study, and what becomes of a click on them."""
    made = proposal(detail, DCE_ROLES)
    uids = {one.series_id: one.series_uid for one in detail.series}
    if any(role.phase is None for role in made.roles):
        return {"problem": made.problem, "complete": False}
    inputs = []
    for role in made.roles:
        assert role.phase is not None
        series_id, selector = role.phase
        named = (selector.keyword, selector.value) if selector else ("", "")
        inputs.append(Input(role.role, uids[series_id], series_id, *named))
    return {
        "problem": made.problem,
        "complete": True,
        "asked": _asked(tools, detail.study_id, "proposed", inputs, series),
    }
