"""What site, lab and a run by hand say of the same input, each by its own code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from django.utils import translation

from consumer.children.workbench import Limits, Workbench
from consumer.errors import LabError
from consumer.manual.choice import choose, concerns
from consumer.manual.facts import examine
from consumer.manual.options import CannotInfer, PhaseOption
from consumer.memory import MemoryFile
from consumer.orthanc.images import Images
from consumer.payloads import DownloadIndex, VolumeHeader, Volumes
from consumer.sandbox.confinement import ReaderLimits
from consumer.stop_conditions import StopConditions
from infra.local.orthanc import OrthancNode
from infra.local.process import ServiceFailed
from messages.envelope import UID_PATTERN
from messages.lab import ModelDescriptor
from messages.request import PhaseSelector
from tests.datasets.finding import FoundSeries, Item
from tests.dicom_factory import place, spec
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable, NotInArchive
from web.phases.choice import from_archive, look_up
from web.phases.chosen import Selection
from web.phases.concerns import worded
from web.phases.proposal import StudyProposal, proposal_for
from web.phases.studies import StudyDetail, study_detail
from web.refusals import Refused

#: Seconds for one reading, and what it may take: less than a lab's own limits.
READING_SECONDS = 180.0
LIMITS = ReaderLimits(memory_bytes=3 * 1024**3, volume_bytes=2 * 1024**3)

#: How often a page is asked for that did not come in time, and the site's code for that.
_TRIES = 6
NO_ANSWER = "archive_unavailable"

#: What a message can carry as a UID (PS3.5 section 9.1).
_UID = re.compile(UID_PATTERN)

#: Files that are stored at a time: most of their way is waiting.
_UPLOADS = 4


@dataclass(frozen=True)
class Input:
    """One phase of one series for a role."""

    role: str
    series_uid: str
    #: Orthanc's id of the series.
    series_id: str
    keyword: str = ""
    value: str = ""

    @property
    def selection(self) -> Selection:
        """As the site names it."""
        phase = PhaseSelector(keyword=self.keyword, value=self.value) if self.keyword else None
        return Selection(self.role, self.series_id, phase)


@dataclass(frozen=True)
class Answer:
    """What one side says: nothing against it, or a code and a sentence."""

    code: str = ""
    sentence: str = ""
    #: What it only doubts.
    doubts: tuple[str, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether it would go on."""
        return not self.code

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {"code": self.code, "sentence": self.sentence, "doubts": list(self.doubts)}


@dataclass(frozen=True)
class Reading:
    """What became of one reading; without header and voxels where it was refused."""

    answer: Answer
    source: DownloadIndex | None = None
    header: VolumeHeader | None = None
    voxels: np.ndarray | None = None
    #: Of the memory with the voxels.
    path: str = ""


@dataclass(frozen=True)
class Result:
    """The objects of a result, or why there are none."""

    answer: Answer
    objects: tuple[bytes, ...]


class Archive:
    """A private Orthanc that holds one study at a time."""

    def __init__(self, node: OrthancNode) -> None:
        self._http = httpx.Client(
            base_url=node.url, auth=(node.user, node.password), timeout=60, trust_env=False
        )
        self.pages = Orthanc(node.url, node.user, node.password)
        self.images = Images(node.url, node.user, node.password)

    @contextmanager
    def holding(self, items: Sequence[Item]) -> Iterator[tuple[list[str], int]]:
        """Store files; Orthanc's ids of the studies that came of it, and how many it refused."""
        studies: dict[str, None] = {}
        refused = 0
        try:
            with ThreadPoolExecutor(_UPLOADS) as pool:
                for parent in pool.map(self._stored, items):
                    if parent:
                        studies[parent] = None
                    else:
                        refused += 1
            yield list(studies), refused
        finally:
            for key in studies:
                # What is left is of other UIDs than the next.
                with suppress(httpx.HTTPError):
                    self._http.delete(f"/studies/{key}")

    def _stored(self, item: Item) -> str:
        """Orthanc's id of the study that the file came into; empty where it was not taken."""
        content = item.path.read_bytes()
        for _ in range(_TRIES):
            # Orthanc closes a connection that was idle just when the next file comes.
            with suppress(httpx.TransportError):
                answer = self._http.post("/instances", content=content)
                break
        else:
            raise ServiceFailed("the private Orthanc takes no files")
        stored = answer.json() if answer.status_code == httpx.codes.OK else {}
        return str(stored.get("ParentStudy", ""))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self.pages.close()


def detail_of(archive: Archive, study_id: str) -> StudyDetail | None:
    """The study's page; None where it cannot be shown.

    A page has seconds, and a busy machine may need more: what was read by then is kept, and the
    next try goes on, as a reader's would.
    """
    for _ in range(_TRIES):
        try:
            return study_detail(study_id, orthanc=archive.pages)
        except ArchiveUnavailable:
            continue
        except NotInArchive:
            break
    return None


def proposal(detail: StudyDetail, roles: Sequence[str], only: str = "") -> StudyProposal:
    """What the site would propose of the study, or of one series of it."""
    with translation.override("en"):
        return proposal_for(
            [one for one in detail.series if only in ("", one.series_id)], tuple(roles)
        )


def model_of(roles: Sequence[str]) -> ModelDescriptor:
    """A model with these roles."""
    return ModelDescriptor(
        name="none",
        version="0",
        sha256="0" * 64,
        roles=tuple(roles),
        labels=("lesion",),
        notice="No model.",
    )


def site_says(archive: Archive, study_id: str, inputs: Sequence[Input]) -> Answer:
    """What the site answers to a click, before anything is sent; again where it had no time."""
    answer = Answer(NO_ANSWER)
    for _ in range(_TRIES):
        if answer.code == NO_ANSWER:
            answer = _site_says(archive, study_id, inputs)
    return answer


def _site_says(archive: Archive, study_id: str, inputs: Sequence[Input]) -> Answer:
    model = model_of([one.role for one in inputs])
    chosen = [one.selection for one in inputs]
    with translation.override("en"):
        try:
            from_archive(archive.pages, model, study_id, chosen)
            found = look_up(archive.pages, model, study_id, chosen)
        except Refused as refused:
            return Answer(refused.code, str(refused.message))
        doubts = worded(found.concerns)
        return Answer(doubts=tuple(one.sentence for one in doubts))


def hand_says(archive: Archive, inputs: Sequence[Input]) -> Answer:
    """What ``mri-consumer infer`` says before it downloads anything."""
    series_ids = list(dict.fromkeys(one.series_id for one in inputs))
    by_hand = tuple(
        PhaseOption(one.role, series_ids.index(one.series_id) + 1, one.keyword, one.value)
        for one in inputs
        if one.keyword
    )
    try:
        wanted = {one.keyword for one in inputs if one.keyword}
        looked = [examine(archive.images, key, wanted) for key in series_ids]
        doubts = concerns(choose(looked, [one.role for one in inputs], by_hand))
    except LabError as error:
        return Answer(str(error.code), error.detail)
    except CannotInfer as error:
        return Answer("cannot_infer", str(error))
    return Answer(doubts=tuple(doubts))


class Lab:
    """The lab's own reader child."""

    def __init__(self) -> None:
        self._bench = Workbench(Limits(reading=READING_SECONDS, inference=60.0, reader=LIMITS))

    @contextmanager
    def reading(self, inputs: Sequence[Input], series: dict[str, FoundSeries]) -> Iterator[Reading]:
        """Read the inputs as a request for them would be read."""
        with MemoryFile() as memory, MemoryFile() as volumes:
            placed = {
                uid: place(memory, _bytes(series[uid].items), "", uid)
                for uid in dict.fromkeys(one.series_uid for one in inputs)
            }
            phases = tuple(_phase(placed[one.series_uid], one) for one in inputs)
            if any(
                not _UID.match(uid) for uid in (*placed, series[inputs[0].series_uid].study_uid)
            ):
                # The contract does not let such a request come to a lab.
                yield Reading(Answer("invalid_message", "a UID that no request can carry"))
                return
            source = DownloadIndex(series[inputs[0].series_uid].study_uid, phases)
            try:
                header = self._bench.read(source, volumes.path, StopConditions())
            except LabError as error:
                yield Reading(_answer(error))
                return
            voxels = volumes.open_array(header.shape, np.float32)
            yield Reading(Answer(), source, header, voxels, volumes.path)

    def result_of(self, read: Reading) -> Result:
        """SEG and report of some marked voxels, as the lab writes them."""
        assert read.source is not None
        assert read.header is not None
        shape = read.header.shape[1:]
        mask = np.zeros(shape, np.uint8)
        mask[
            shape[0] // 2, shape[1] // 2 : shape[1] // 2 + 3, shape[2] // 2 : shape[2] // 2 + 3
        ] = 1
        with MemoryFile() as memory:
            memory.write(mask.tobytes())
            try:
                made = self._bench.package(
                    read.source, memory.path, shape, spec(), StopConditions()
                )
                known = spec(
                    primary_series_uid=made.series_uid, primary_instance_uid=made.sop_instance_uid
                )
                volumes = Volumes(read.path, read.header)
                measured = self._bench.measure(
                    made.dicom_bytes, read.source, known, volumes, StopConditions()
                )
            except LabError as error:
                return Result(_answer(error), ())
        return Result(Answer(), tuple(one for one in (made.dicom_bytes, measured.report) if one))

    def stop(self) -> None:
        """End the child."""
        self._bench.stop()


def _answer(error: LabError) -> Answer:
    return Answer(str(error.code), error.detail)


def _bytes(items: Sequence[Item]) -> list[bytes]:
    return [item.path.read_bytes() for item in items]


def _phase(whole: Any, one: Input) -> Any:
    from dataclasses import replace

    selector = (one.keyword, one.value) if one.keyword else None
    return replace(whole, role=one.role, selector=selector)


def path_of(items: Sequence[Item]) -> dict[str, Path]:
    """Files by the UID of their instance."""
    return {item.instance_uid: item.path for item in items}
