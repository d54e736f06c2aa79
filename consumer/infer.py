"""``mri-consumer infer``: one analysis by hand, without a broker.

It is the lab's own work on an archive of another kind: what would be stored is kept, and written
into a folder. Each run has a request id of its own, so it makes a result of its own: with
``--upload`` beside whatever the archive has already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from consumer import bootstrap
from consumer.analysis import Analysis
from consumer.announce import Announcer
from consumer.archive_watch import ArchiveWatch
from consumer.bundle import Bundle, find_bundles
from consumer.halt import Halt
from consumer.lab import ArchivePort, Lab
from consumer.memory import MemoryFile
from consumer.orthanc import Archive
from consumer.run import Run
from consumer.settings import AnalysisSettings
from messages.envelope import Wire
from messages.events import InferenceCompleted
from messages.request import InferenceRequested, InputSeries
from messages.topology import POOLS

#: What is printed of a result.
_TOLD = (
    "request_id",
    "tumor_detected",
    "volume_voxels",
    "volume_ml",
    "longest_diameter_mm",
    "slices",
    "slices_with_tumor",
    "model",
    "stage_seconds",
)


class CannotInfer(Exception):
    """What was asked for cannot be run. The text is one sentence."""


@dataclass(frozen=True)
class Asked:
    """The options of the command."""

    #: Orthanc ids in the order of the model's roles.
    series_ids: tuple[str, ...]
    #: A bundle's name; may be left out where there is one bundle.
    model: str | None
    threshold: float
    upload: bool
    #: Folder for the SEG and SR files of a run that is not uploaded.
    output: Path


def infer(settings: AnalysisSettings, asked: Asked) -> dict[str, Any]:
    """Run the model on the series; returns the figures and where the result is.

    Raises `CannotInfer`, `BundleInvalid` and `LabError`.
    """
    bundle = _chosen(find_bundles(settings.model_path), asked.model)
    archive = bootstrap.archive_of(settings)
    request = _request(archive, bundle, asked)
    kept = Kept(archive)
    target: ArchivePort = archive if asked.upload else kept
    with bootstrap.workbench(settings) as bench:
        bench.load([bundle], settings.device)
        lab = Lab(
            name=settings.lab_name,
            device=settings.device,
            threshold=settings.threshold,
            bundles={bundle.descriptor.name: bundle},
            archive=target,
            # Not started: who runs an analysis by hand is told at once that the archive is away.
            archive_watch=ArchiveWatch(archive.probe),
            workbench=bench,
            announcer=Announcer(Nobody(), user=settings.lab_name),
        )
        run = Run(request, held=Once(), lab=settings.lab_name, halt=Halt())
        completed = Analysis(lab, run).complete()
    figures = completed.model_dump(mode="json", include=set(_TOLD))
    if asked.upload:
        figures |= {
            "seg_instance_id": completed.seg_instance_id,
            "sr_instance_id": completed.sr_instance_id,
        }
    else:
        figures["files"] = kept.write(asked.output, completed)
    return figures


def _chosen(bundles: Mapping[str, Bundle], name: str | None) -> Bundle:
    names = ", ".join(bundles)
    if name is None:
        if len(bundles) > 1:
            raise CannotInfer(f"MODEL_PATH holds {names}: choose one with --model")
        return next(iter(bundles.values()))
    if name not in bundles:
        raise CannotInfer(f"MODEL_PATH holds no model {name}, but {names}")
    return bundles[name]


def _request(archive: Archive, bundle: Bundle, asked: Asked) -> InferenceRequested:
    roles = bundle.descriptor.roles
    if len(asked.series_ids) != len(roles):
        raise CannotInfer(
            f"model {bundle.descriptor.name} takes {len(roles)} series ({', '.join(roles)}), "
            f"and {len(asked.series_ids)} were given"
        )
    try:
        facts = [archive.describe_series(series_id) for series_id in asked.series_ids]
    except ValueError:
        raise CannotInfer(
            "--series-ids takes the identifiers that Orthanc shows: five groups of eight "
            "hexadecimal digits"
        ) from None
    if len({fact.study_uid for fact in facts}) > 1:
        raise CannotInfer("the series belong to different studies")
    try:
        return InferenceRequested(
            request_id=uuid4(),
            attempt=1,
            pool=POOLS[0],
            model=bundle.descriptor.name,
            study_uid=facts[0].study_uid,
            inputs=tuple(
                InputSeries(
                    role=role,
                    series_id=series_id,
                    series_uid=fact.series_uid,
                    instance_count=fact.instance_count,
                )
                for role, series_id, fact in zip(roles, asked.series_ids, facts, strict=True)
            ),
            threshold=asked.threshold,
            deadline_s=3600,
        )
    except ValidationError as exc:
        field_name = str(exc.errors(include_input=False)[0]["loc"][-1])
        raise CannotInfer(f"{field_name} is not usable for a request") from None


@dataclass(frozen=True)
class Once:
    """Nobody delivered it, so it is nobody's second delivery, and nobody cancels it."""

    count: int = 0
    cancelled: Event = field(default_factory=Event)

    def hear_cancels(self) -> None:
        """There is no broker to hear."""


class Nobody:
    """Hears what a lab would tell the broker."""

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Hear it."""

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Hear it."""


@dataclass
class Kept:
    """Reads from the archive and keeps what would be stored there."""

    archive: Archive
    _objects: dict[str, bytes] = field(default_factory=dict)

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, look: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """See `Archive.download_series`."""
        return self.archive.download_series(study_uid, series_uid, into, look=look)

    def has_series(self, series_uid: str, *, look: Callable[[], None]) -> bool:
        """See `Archive.has_series`."""
        return self.archive.has_series(series_uid, look=look)

    def find_instance(self, _sop_instance_uid: str, *, look: Callable[[], None]) -> str | None:
        """Nothing: the request is new."""
        look()
        return None

    def fetch_instance(self, instance_id: str, *, look: Callable[[], None]) -> bytes:
        """What was kept under it."""
        look()
        return self._objects[instance_id]

    def store(self, dicom: bytes, *, look: Callable[[], None]) -> str:
        """Keep it, under an id that has the form of Orthanc's."""
        look()
        digits = hashlib.sha256(dicom).hexdigest()
        key = "-".join(digits[place : place + 8] for place in range(0, 40, 8))
        self._objects[key] = dicom
        return key

    def write(self, folder: Path, completed: InferenceCompleted) -> dict[str, str]:
        """Write the files, readable by their owner only; returns their paths by kind.

        Raises `CannotInfer` when the folder cannot be written.
        """
        ids = {"seg": completed.seg_instance_id, "sr": completed.sr_instance_id}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return {
                kind: _write(folder, completed.request_id, kind, self._objects[key])
                for kind, key in ids.items()
                if key is not None
            }
        except OSError as exc:
            raise CannotInfer(f"{folder} cannot be written ({type(exc).__name__})") from None


def _write(folder: Path, request_id: UUID, kind: str, content: bytes) -> str:
    path = folder / f"{request_id}-{kind}.dcm"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return str(path)
