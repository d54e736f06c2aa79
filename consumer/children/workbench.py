"""The two children as a job sees them: each call runs in a process that may be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

import structlog

from consumer.bundle import Bundle
from consumer.children import reader, segmenter
from consumer.children.child import Child
from consumer.children.segmenter import DeviceFacts, SegmentationJob
from consumer.errors import (
    InferenceTimeout,
    LabError,
    ModelFailed,
    ModelUnavailable,
    TooLarge,
    UnreadableDicom,
)
from consumer.payloads import (
    DownloadIndex,
    Measured,
    PackagedPrimary,
    ResultSpec,
    VolumeHeader,
    Volumes,
)
from consumer.sandbox.confinement import Confinement, ReaderLimits, confine
from consumer.stop_conditions import StopConditions

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: The reader decodes what strangers sent, and needs no socket at all. The segmenter runs bundles:
#: the workers of a DataLoader hand each other their arrays over sockets of this machine.
READER = Confinement(sockets=False)
SEGMENTER = Confinement(sockets=True)

#: The sentence for what no part of the reader has a better one for.
UNFORESEEN = "the series cannot be read, and no part of the reader knows why"

#: Seconds in which all bundles must have been loaded at the start.
_LOAD_SECONDS = 600.0


def _reader_too_slow(seconds: float) -> TooLarge:
    # Permanent, after a fresh process was as slow: files that take that long do so every time, and
    # hold up the lab for as long. The time is a limit of the lab, as the bytes are, and the same
    # operator raises it; whoever reads it on a busy machine may ask again.
    return TooLarge(f"reading takes longer than {seconds:.0f} s")


def _reader_too_full(allowed: int) -> TooLarge:
    # Permanent: a fresh process of the same limit ended the same way.
    return TooLarge(f"reading takes more than {allowed} bytes of memory")


def _inference_too_slow(seconds: float) -> InferenceTimeout:
    return InferenceTimeout(f"the inference took longer than {seconds:.0f} s")


def _model_raised(error: LabError) -> bool:
    # After a device-side assertion or a fault of the driver every call of that process raises.
    return isinstance(error, ModelFailed | ModelUnavailable) and bool(error.raised)


class ModelRunner(Protocol):
    """What runs models in the segmenter's process: `consumer.children.segmenter`, with torch.

    Its functions are called there by their names, so that it is a module.
    """

    def start(self) -> None:
        """Prepare the process."""

    def look_at(self, device: str) -> DeviceFacts:
        """Say whether the device can be used."""

    def load_all(self, bundles: Iterable[Bundle], device: str) -> None:
        """Make every bundle ready. Raises `ModelUnavailable` and `OutOfMemory`."""

    def segment(self, job: SegmentationJob) -> None:
        """Write the mask of a job. Raises `ModelFailed` besides."""


@dataclass(frozen=True)
class Limits:
    """Seconds after which a child is killed, and what the reader may take."""

    reading: float
    inference: float
    reader: ReaderLimits = field(default_factory=ReaderLimits)


def _begin_reading(allowed: ReaderLimits) -> None:
    reader.start()
    confine(allowed)


def _read(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function of the reader; whatever else it raises becomes UnreadableDicom.

    The parts of the reader name what they expect. What they do not expect comes from the files all
    the same, and from no other try; its text may quote a value, and its type says nothing to a
    reader: both are left behind.
    """
    try:
        return function(*args, **kwargs)
    except (LabError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - the last one before the job
        raise UnreadableDicom(UNFORESEEN) from None


class Workbench:
    """Reader and segmenter. Calls from several job threads take turns."""

    def __init__(
        self,
        limits: Limits,
        model_runner: ModelRunner = segmenter,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits
        self._model_runner = model_runner
        self._reader = Child(
            "reader",
            on_timeout=_reader_too_slow,
            on_slow_again=_reader_too_slow,
            on_exhausted=partial(_reader_too_full, limits.reader.memory_bytes),
            prepare=partial(_begin_reading, limits.reader),
            guard=_read,
            how=READER,
            environment=environment,
        )
        self._segmenter = Child(
            "segmenter",
            on_timeout=_inference_too_slow,
            is_spoilt=_model_raised,
            prepare=model_runner.start,
            how=SEGMENTER,
            environment=environment,
        )

    def load(self, bundles: Iterable[Bundle], device: str) -> None:
        """Start the segmenter and load the bundles. Raises `ModelUnavailable`."""
        try:
            self._segmenter.call(
                _LOAD_SECONDS, StopConditions(), self._model_runner.load_all, list(bundles), device
            )
        except ModelUnavailable as error:
            log.warning("a model cannot be loaded", action="lab.load_failed", error=error.raised)
            raise

    def look_at(self, device: str) -> DeviceFacts:
        """See `consumer.children.segmenter.look_at`; raises `LabError`."""
        return self._segmenter.call(
            _LOAD_SECONDS, StopConditions(), self._model_runner.look_at, device
        )

    def read(
        self, source: DownloadIndex, volumes_path: str, stop_conditions: StopConditions
    ) -> VolumeHeader:
        """See `consumer.children.reader.read_phases`."""
        return self._reader.call(
            self._limits.reading,
            stop_conditions,
            reader.read_phases,
            source,
            volumes_path,
            self._limits.reader.volume_bytes,
        )

    def segment(self, job: SegmentationJob, stop_conditions: StopConditions) -> None:
        """See `consumer.children.segmenter.segment`; also raises `InferenceTimeout`.

        What a bundle raises ends the segmenter's process, and the job is tried once more in a fresh
        one: what is raised there is no fault that an earlier call has left behind.
        """
        try:
            self._segment(job, stop_conditions)
        except (ModelFailed, ModelUnavailable) as error:
            if not _model_raised(error):
                raise
            log.warning(
                "the model raised, tried once more in a fresh process",
                action="job.fresh_segmenter",
                model=job.bundle.descriptor.name,
                code=error.code,
                error=error.raised,
            )
            self._segment(job, stop_conditions)

    def _segment(self, job: SegmentationJob, stop_conditions: StopConditions) -> None:
        # After a crash the child is a fresh one. It loads its libraries and the bundle first, and
        # that is no part of the time that an inference may take.
        self._segmenter.call(
            _LOAD_SECONDS, stop_conditions, self._model_runner.load_all, [job.bundle], job.device
        )
        self._segmenter.call(
            self._limits.inference, stop_conditions, self._model_runner.segment, job
        )

    def package(
        self,
        source: DownloadIndex,
        mask_path: str,
        shape: tuple[int, int, int],
        spec: ResultSpec,
        stop_conditions: StopConditions,
    ) -> PackagedPrimary:
        """See `consumer.children.reader.package`."""
        return self._reader.call(
            self._limits.reading, stop_conditions, reader.package, source, mask_path, shape, spec
        )

    def measure(
        self,
        stored: bytes,
        source: DownloadIndex,
        spec: ResultSpec,
        volumes: Volumes | None,
        stop_conditions: StopConditions,
    ) -> Measured:
        """See `consumer.children.reader.measure_stored`."""
        return self._reader.call(
            self._limits.reading,
            stop_conditions,
            reader.measure_stored,
            stored,
            source,
            spec,
            volumes,
            self._limits.reader.volume_bytes,
        )

    def stop(self) -> None:
        """Kill both children."""
        self._segmenter.stop()
        self._reader.stop()
