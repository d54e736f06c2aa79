"""What a lab begins and takes: not while the archive is away, and a suspect alone."""

from __future__ import annotations

import json
from pathlib import Path

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import topology
from messages.envelope import Message
from messages.events import InferenceAccepted, InferenceRetryScheduled
from messages.lab import ARCHIVE_AWAY, SERVING
from tests.integration.lab import (
    ONE_RESULT,
    QUEUE,
    START_SECONDS,
    Clinic,
    HeldBundle,
    LabProcess,
    completed,
    running_lab,
    store_small_study,
    stored_objects,
)
from tests.integration.nodes import TestBroker, running_orthanc, running_rabbit

#: Delivery limit of a broker that gives a request up sooner: seven deaths of its lab.
LIMIT = 6


def test_a_lab_without_its_archive_holds_what_it_has_and_takes_no_more(
    tmp_path: Path, rabbit: TestBroker, clinic: Clinic, bundle: HeldBundle
) -> None:
    with running_orthanc(tmp_path / "orthanc") as archive:
        study = store_small_study(archive)
        bundle.hold()
        with running_lab(
            tmp_path,
            broker=rabbit,
            archive=archive,
            archive_url=archive.url,
            bundle=bundle.path,
            prefetch=2,
        ) as lab:
            held, later = study.request(), study.request()
            clinic.ask(held)
            wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
            archive.stop()
            bundle.release()
            lab.wait_for("broker.paused")
            clinic.heartbeats(lambda h: h.condition == ARCHIVE_AWAY)
            clinic.ask(later)
            # A second place in hand is free: only the lab's own will keeps it from being filled.
            told = clinic.heartbeats(lambda h: h.condition == ARCHIVE_AWAY, timeout=30)
            assert told.current == (held.request_id,)
            assert clinic.ready(QUEUE) == 1
            archive.start()
            archive.wait_ready()
            replies = clinic.replies(lambda r: len(completed(r)) == 2, 120)
            clinic.heartbeats(lambda h: h.condition == SERVING)
        assert {m.attempt for m in completed(replies)} == {1}
        assert not [m for m in replies if isinstance(m, InferenceRetryScheduled)]
        assert stored_objects(archive, study) == dict.fromkeys(ONE_RESULT, 2)


def test_a_request_that_kills_its_lab_each_time_leaves_its_neighbour_alive_and_becomes_a_letter(
    tmp_path: Path, orthanc: OrthancNode
) -> None:
    poisonous = HeldBundle(tmp_path / "models", "poison")
    harmless = HeldBundle(tmp_path / "models")
    poisonous.hold()
    harmless.hold()
    with running_rabbit(tmp_path / "rabbit") as broker:
        policy = next(p for p in topology.POLICIES if p.name == "mri-requests")
        broker.node.ctl(
            *("-p", topology.VHOST, "set_policy", "--apply-to", "queues", policy.name),
            *(policy.pattern, json.dumps({**policy.definition, "delivery-limit": LIMIT})),
        )
        clinic = Clinic(broker)
        study = store_small_study(orthanc)
        poison, neighbour = study.request(model="poison"), study.request()
        clinic.ask(poison)
        clinic.ask(neighbour)
        lab = LabProcess(
            tmp_path,
            broker=broker,
            archive=orthanc,
            archive_url=orthanc.url,
            bundle=tmp_path / "models",
            prefetch=2,
        )
        replies: list[Message] = []

        def accepted_again(so_far: list[Message], deaths: int) -> bool:
            return (poison.request_id, deaths) in {
                (m.request_id, m.delivery) for m in so_far if isinstance(m, InferenceAccepted)
            }

        try:
            for deaths in range(LIMIT + 1):
                if deaths == 3:
                    # From now on each runs alone, and the neighbour would end if it were let.
                    harmless.release()
                lab.start()
                replies += clinic.replies(
                    lambda r, deaths=deaths: accepted_again(r, deaths), START_SECONDS
                )
                lab.service.kill()
        finally:
            lab.service.kill()
        _, headers = clinic.dead()
        assert headers["x-death"][0]["reason"] == "delivery_limit"
        assert clinic.ready(QUEUE) == 0
    (event,) = completed(replies)
    assert event.request_id == neighbour.request_id
    assert stored_objects(orthanc, study) == ONE_RESULT
