"""The one place where the lab's real parts are put together."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from consumer import heartbeat, systemd
from consumer.amqp.intake import Intake
from consumer.amqp.publisher import Publisher
from consumer.amqp.worker import Worker
from consumer.announce import Announcer
from consumer.bundle import find_bundles
from consumer.children.workbench import Limits, Workbench
from consumer.errors import ArchiveUnavailable
from consumer.job import Job
from consumer.lab import Lab
from consumer.orthanc import Archive
from consumer.settings import AnalysisSettings, LabSettings
from messages.topology import EVENTS, RETRY_TIERS, requests_queue, retry_exchange

log = structlog.get_logger(__name__)


def run(settings: LabSettings) -> None:
    """Serve the pool until SIGTERM or SIGINT.

    Raises `BundleInvalid`, `ModelUnavailable` and `TopologyMissing` when the lab cannot start.
    """
    bundles = find_bundles(settings.model_path)
    with workbench(settings) as bench, _publisher(settings) as publisher:
        log.info("loading bundles", action="lab.load", models=sorted(bundles))
        bench.load(bundles.values(), settings.device)
        archive = archive_of(settings)
        try:
            archive.probe()
        except ArchiveUnavailable as error:
            # No reason to stop: it may come back. But an engineer should see it now.
            log.warning("archive away", action="lab.archive_away", detail=error.detail)
        announcer = Announcer(publisher, user=settings.broker_user)
        lab = Lab(
            name=settings.lab_name,
            device=settings.device,
            threshold=settings.threshold,
            bundles=bundles,
            archive=archive,
            workbench=bench,
            announcer=announcer,
        )
        worker = Worker(
            Intake(
                urls=settings.broker_urls,
                pool=settings.lab_pool,
                queue=requests_queue(settings.lab_pool),
                exchanges=(EVENTS, *(retry_exchange(tier) for tier in RETRY_TIERS)),
                prefetch=settings.prefetch,
                heartbeat=settings.amqp_heartbeat,
                name=f"{settings.lab_name} consume",
            ),
            job=Job(lab).handle,
            defer=announcer.defer,
        )
        beats = heartbeat.Heartbeat(
            announcer,
            lab=settings.lab_name,
            pool=settings.lab_pool,
            device=settings.device,
            models=[bundle.descriptor for bundle in bundles.values()],
            current=lambda: worker.current,
        )
        supervisor = systemd.Supervisor()

        def stop(*_: object) -> None:
            worker.stop()
            supervisor.stopping()

        def turn() -> None:
            beats.beat()
            supervisor.turn(consuming=worker.consuming)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        log.info("ready", action="lab.ready", lab=settings.lab_name, pool=settings.lab_pool)
        worker.run(on_turn=turn, grace_seconds=settings.stop_grace_seconds)
    log.info("stopped", action="lab.stopped")


@contextmanager
def workbench(settings: AnalysisSettings) -> Iterator[Workbench]:
    """The two children, stopped with the block."""
    bench = Workbench(
        Limits(
            reading=settings.reader_timeout_seconds,
            inference=settings.inference_timeout_seconds,
        )
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
    )
