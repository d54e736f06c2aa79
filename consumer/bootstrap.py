"""The one place where the lab's real parts are put together."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import structlog

from consumer.amqp import tolerant
from consumer.amqp.intake import Intake
from consumer.amqp.publisher import Publisher
from consumer.amqp.worker import Worker
from consumer.bundle import find_bundles
from consumer.children import segmenter
from consumer.children.workbench import Limits, ModelRunner, Workbench
from consumer.jobs.announcer import Announcer
from consumer.jobs.job import Job
from consumer.jobs.lab import Lab
from consumer.liveness import systemd
from consumer.liveness.heartbeat import Heartbeat, LabStatus
from consumer.liveness.presence import DRAIN_SIGNAL, Presence
from consumer.orthanc import Archive
from consumer.orthanc.archive_watch import ArchiveWatch
from consumer.sandbox.confinement import ReaderLimits, no_core_dump
from consumer.sandbox.kernel import keep_memory_private
from consumer.settings import AnalysisSettings, LabSettings, child_environment
from messages.lab import ARCHIVE_AWAY, DRAINING, SERVING

log = structlog.get_logger(__name__)


def run(settings: LabSettings, model_runner: ModelRunner = segmenter) -> None:
    """Serve the pool until SIGTERM, SIGINT or the end of a drain.

    Raises `PresenceError`, `BundleInvalid`, `ModelUnavailable` and `TopologyMissing` when the lab
    cannot start, and `LabBroken` when it cannot go on.
    """
    tolerant.install()
    draining, ending = Event(), Event()

    def drain(*_: object) -> None:
        draining.set()
        ending.set()

    # Before a drain can find us: unheard, its signal would end the process.
    signal.signal(DRAIN_SIGNAL, drain)
    archive = archive_of(settings)
    with (
        Presence(settings.run_dir, settings.lab_name) as presence,
        workbench(settings, model_runner) as bench,
        _publisher(settings) as publisher,
        _archive_watch(archive, ending) as watch,
    ):
        bundles = find_bundles(settings.model_path)
        log.info("loading bundles", action="lab.load", models=sorted(bundles))
        bench.load(bundles.values(), settings.device)
        lab = Lab(
            name=settings.lab_name,
            device=settings.device,
            threshold=settings.threshold,
            bundles=bundles,
            archive=archive,
            archive_watch=watch,
            workbench=bench,
            announcer=Announcer(publisher, user=settings.broker_user, pool=settings.lab_pool),
            ending=ending,
            max_series_instances=settings.max_series_instances,
            max_request_bytes=settings.max_request_bytes,
            min_lesion_mm3=settings.min_lesion_mm3,
            key_slices=settings.key_slices,
        )
        worker = Worker(
            _intake(settings),
            lab=lab.name,
            job=Job(lab).handle,
            defer=lab.announcer.defer,
            may_take=lambda: not watch.away,
            draining=draining,
        )

        def status() -> LabStatus:
            serving = ARCHIVE_AWAY if watch.away else SERVING
            return LabStatus(
                current=worker.in_flight.request_ids,
                condition=DRAINING if draining.is_set() else serving,
                connections=worker.generation + publisher.generation,
            )

        _serve(settings, lab, worker, status, presence)
    log.info("stopped", action="lab.stopped")


def _serve(
    settings: LabSettings,
    lab: Lab,
    worker: Worker,
    status: Callable[[], LabStatus],
    presence: Presence,
) -> None:
    supervisor = systemd.Supervisor()
    heartbeat = Heartbeat(
        lab.announcer,
        lab=lab.name,
        pool=settings.lab_pool,
        device=lab.device,
        models=[bundle.descriptor for bundle in lab.bundles.values()],
        status=status,
    )

    def stop(*_: object) -> None:
        worker.stop()
        lab.ending.set()
        supervisor.stopping()

    def turn() -> None:
        heartbeat.beat()
        presence.record(worker.unfinished)
        supervisor.turn(connected=worker.connected, condition=status().condition)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    log.info("ready", action="lab.ready", lab=lab.name, pool=settings.lab_pool)
    try:
        worker.run(on_turn=turn, grace_seconds=settings.stop_grace_seconds)
    finally:
        # The grace is over: what still runs is the broker's again.
        lab.stopping.set()
        presence.record(worker.unfinished)


def _intake(settings: LabSettings) -> Intake:
    return Intake(
        urls=settings.broker_urls,
        pool=settings.lab_pool,
        prefetch=settings.prefetch,
        heartbeat=settings.amqp_heartbeat,
        name=f"{settings.lab_name} consume",
    )


@contextmanager
def _archive_watch(archive: Archive, ending: Event) -> Iterator[ArchiveWatch]:
    watch = ArchiveWatch(archive.probe, ending=ending)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


@contextmanager
def workbench(
    settings: AnalysisSettings, model_runner: ModelRunner = segmenter
) -> Iterator[Workbench]:
    """The two children, stopped with the block."""
    # This process holds what the archive sends too, and the credentials that the children lack.
    no_core_dump()
    keep_memory_private()
    bench = Workbench(
        Limits(
            reading=settings.reader_timeout_seconds,
            inference=settings.inference_timeout_seconds,
            reader=ReaderLimits(
                memory_bytes=settings.max_reader_bytes, volume_bytes=settings.max_volume_bytes
            ),
        ),
        model_runner,
        child_environment(settings.child_environment),
    )
    try:
        yield bench
    finally:
        bench.stop()


@contextmanager
def _publisher(settings: LabSettings) -> Iterator[Publisher]:
    publisher = Publisher(
        settings.broker_urls,
        heartbeat=settings.amqp_heartbeat,
        name=f"{settings.lab_name} publish",
    )
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.stop()


def archive_of(settings: AnalysisSettings) -> Archive:
    """The archive that the settings name."""
    return Archive(
        settings.orthanc_url,
        settings.orthanc_user,
        settings.orthanc_password.get_secret_value(),
        max_series_bytes=settings.max_series_bytes,
        max_series_instances=settings.max_series_instances,
    )
