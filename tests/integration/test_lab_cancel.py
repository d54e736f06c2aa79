"""A cancel reaches a lab: while it infers, before it begins, after a reconnect, before its ack."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import topology
from messages.envelope import Message
from messages.events import InferenceAccepted, InferenceCancelled
from tests.integration.lab import (
    QUEUE,
    Clinic,
    HeldBundle,
    assert_acknowledged,
    completed,
    running_lab,
    store_small_study,
    stored_objects,
)
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.wire import AckHold


def cancelled(replies: list[Message]) -> list[UUID]:
    return [m.request_id for m in replies if isinstance(m, InferenceCancelled)]


def test_a_cancel_ends_an_inference_and_leaves_nothing_in_the_archive(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments) as lab:
        request = study.request()
        clinic.ask(request)
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        child = Path("/proc") / (bundle.path / "pid").read_text()
        assert child.exists()
        clinic.cancel(request.request_id)
        replies = clinic.replies(lambda r: bool(cancelled(r)))
        wait_until(lambda: not child.exists(), "end the inference", 10)
        assert lab.count("control.cancel") == 1
    assert_acknowledged(clinic)
    assert cancelled(replies) == [request.request_id]
    assert not completed(replies)
    assert stored_objects(orthanc, study) == {}


def test_a_cancel_of_what_has_not_begun_does_not_wait_for_what_runs(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    suspect, neighbour = study.request(), study.request()
    clinic.ask(suspect)
    clinic.wear(QUEUE, "lab1", 3)
    clinic.ask(neighbour)
    with running_lab(**arguments, prefetch=2) as lab:
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        clinic.heartbeats(lambda h: {suspect.request_id, neighbour.request_id} == {*h.current})
        replies = clinic.replies(bool)
        # The suspect waits for its neighbour, and the reader does not wait for either.
        assert [m.request_id for m in replies if isinstance(m, InferenceAccepted)] == [
            neighbour.request_id
        ]
        clinic.cancel(suspect.request_id)
        assert cancelled(clinic.replies(lambda r: bool(cancelled(r)))) == [suspect.request_id]
        bundle.release()
        (event,) = completed(clinic.replies(lambda r: bool(completed(r))))
        assert event.request_id == neighbour.request_id
        assert lab.count("job.cancelled") == 1
    assert_acknowledged(clinic)


def test_after_a_reconnect_the_lab_says_what_it_holds_and_hears_the_cancel(
    tmp_path: Path, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    with running_rabbit(tmp_path / "rabbit") as broker:
        clinic = Clinic(broker)
        study = store_small_study(orthanc)
        bundle.hold()
        with running_lab(
            tmp_path, broker=broker, archive=orthanc, archive_url=orthanc.url, bundle=bundle.path
        ) as lab:
            request = study.request()
            clinic.ask(request)
            wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
            broker.node.restart()
            # What the first connection told. The request itself waits for the lab: it stays.
            clinic.forget(topology.replies_queue("lab"), topology.progress_queue("lab"))
            wait_until(lambda: lab.count("broker.consuming") == 2, "consume again", 60)
            clinic.heartbeats(lambda h: h.current == (request.request_id,))
            clinic.cancel(request.request_id)
            assert cancelled(clinic.replies(lambda r: bool(cancelled(r))))
            lab.wait_for("delivery.adopt")
        assert_acknowledged(clinic)
        assert stored_objects(orthanc, study) == {}


def test_a_lab_killed_between_cancelled_and_ack_is_followed_by_one_that_is_told_again(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    request = study.request()
    broker: TestBroker = arguments["broker"]
    with (
        AckHold(broker.node.amqp_port) as hold,
        running_lab(**arguments, broker_port=hold.port) as first,
    ):
        clinic.ask(request)
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        clinic.cancel(request.request_id)
        clinic.replies(lambda r: bool(cancelled(r)))
        assert hold.acks_held.wait(30), "the lab did not acknowledge"
        first.service.kill()
    wait_until(lambda: clinic.ready(QUEUE) == 1, "give the delivery back", 30)
    with running_lab(**arguments):
        told = clinic.replies(lambda r: any(isinstance(m, InferenceAccepted) for m in r))
        assert told[-1].delivery > 0 if isinstance(told[-1], InferenceAccepted) else False
        # What the site does at every `accepted` of a cancelled row.
        clinic.cancel(request.request_id)
        assert cancelled(clinic.replies(lambda r: bool(cancelled(r)))) == [request.request_id]
    assert_acknowledged(clinic)
    assert stored_objects(orthanc, study) == {}
