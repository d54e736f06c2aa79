"""The one place where the lab's real parts are put together."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from consumer import heartbeat
from consumer.amqp.intake import Intake
from consumer.amqp.publisher import Publisher
from consumer.amqp.worker import Worker
from consumer.announce import Announcer
from consumer.bundle import find_bundles
from consumer.children.workbench import Limits, Workbench
from consumer.errors import ArchiveUnavailable
from consumer.job import Lab
from consumer.orthanc import Archive
from consumer.settings import LabSettings
from messages.topology import EVENTS, RETRY_TIERS, requests_queue, retry_exchange

log = structlog.get_logger(__name__)


def run(settings: LabSettings) -> None:
    """Serve the pool until SIGTERM or SIGINT.

    Raises `BundleInvalid`, `ModelUnavailable` and `TopologyMissing` when the lab cannot start.
    """
    bundles = find_bundles(settings.model_path)
    with _workbench(settings) as workbench, _publisher(settings) as publisher:
        log.info("loading bundles", action="lab.load", models=sorted(bundles))
        workbench.load(bundles.values(), settings.device)
        archive = _archive(settings)
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
            workbench=workbench,
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
            job=lab.handle,
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        log.info("ready", action="lab.ready", lab=settings.lab_name, pool=settings.lab_pool)
        worker.run(on_turn=beats.beat, grace_seconds=settings.stop_grace_seconds)
    log.info("stopped", action="lab.stopped")


@contextmanager
def _workbench(settings: LabSettings) -> Iterator[Workbench]:
    workbench = Workbench(
        Limits(
            reading=settings.reader_timeout_seconds,
            inference=settings.inference_timeout_seconds,
        )
    )
    try:
        yield workbench
    finally:
        workbench.stop()


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


def _archive(settings: LabSettings) -> Archive:
    return Archive(
        settings.orthanc_url,
        settings.orthanc_user,
        settings.orthanc_password.get_secret_value(),
        max_series_bytes=settings.max_series_bytes,
    )
