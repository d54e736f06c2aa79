"""The two children as a job sees them: each call runs in a process that may be killed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consumer.bundle import Bundle
from consumer.children import reader, segmenter
from consumer.children.child import Child
from consumer.children.segmenter import DeviceFacts, SegmentationJob
from consumer.errors import InferenceTimeout, WorkerCrashed
from consumer.halt import Halt
from consumer.handover import DownloadIndex, Measured, PackagedPrimary, ResultSpec, VolumeHeader

#: Seconds in which all bundles must have been loaded at the start.
_LOAD_SECONDS = 600.0


def _reader_too_slow(seconds: float) -> WorkerCrashed:
    # Passing: a busy machine reads slowly too, and the next try shows which it was.
    return WorkerCrashed(f"reading took longer than {seconds:.0f} s and was stopped")


def _inference_too_slow(seconds: float) -> InferenceTimeout:
    return InferenceTimeout(f"the inference took longer than {seconds:.0f} s")


@dataclass(frozen=True)
class Limits:
    """Seconds after which a child is killed."""

    reading: float
    inference: float


class Workbench:
    """Reader and segmenter. Calls from several job threads take turns."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._reader = Child("reader", on_timeout=_reader_too_slow, prepare=reader.start)
        self._segmenter = Child(
            "segmenter", on_timeout=_inference_too_slow, prepare=segmenter.start
        )

    def load(self, bundles: Iterable[Bundle], device: str) -> None:
        """Start the segmenter and load the bundles. Raises `ModelUnavailable`."""
        self._segmenter.call(_LOAD_SECONDS, Halt(), segmenter.load_all, list(bundles), device)

    def look_at(self, device: str) -> DeviceFacts:
        """See `consumer.children.segmenter.look_at`; raises `LabError`."""
        return self._segmenter.call(_LOAD_SECONDS, Halt(), segmenter.look_at, device)

    def read(self, source: DownloadIndex, volumes_path: str, halt: Halt) -> VolumeHeader:
        """See `consumer.children.reader.read_phases`."""
        return self._reader.call(
            self._limits.reading, halt, reader.read_phases, source, volumes_path
        )

    def segment(self, job: SegmentationJob, halt: Halt) -> None:
        """See `consumer.children.segmenter.segment`; also raises `InferenceTimeout`."""
        # After a crash the child is a fresh one. It loads its libraries and the bundle first, and
        # that is no part of the time that an inference may take.
        self._segmenter.call(_LOAD_SECONDS, halt, segmenter.load_all, [job.bundle], job.device)
        self._segmenter.call(self._limits.inference, halt, segmenter.segment, job)

    def package(
        self,
        source: DownloadIndex,
        mask_path: str,
        shape: tuple[int, int, int],
        spec: ResultSpec,
        halt: Halt,
    ) -> PackagedPrimary:
        """See `consumer.children.reader.package`."""
        return self._reader.call(
            self._limits.reading, halt, reader.package, source, mask_path, shape, spec
        )

    def measure(
        self, stored: bytes, source: DownloadIndex, spec: ResultSpec, halt: Halt
    ) -> Measured:
        """See `consumer.children.reader.measure_stored`."""
        return self._reader.call(
            self._limits.reading, halt, reader.measure_stored, stored, source, spec
        )

    def stop(self) -> None:
        """Kill both children."""
        self._segmenter.stop()
        self._reader.stop()
