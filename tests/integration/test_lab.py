"""The lab on a real broker and a real archive, without the web: who dies, who takes over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import topology
from messages.events import (
    InferenceAccepted,
    InferenceFailed,
    InferenceRetryScheduled,
)
from messages.failures import FailureCode
from tests.integration.gate import Gate
from tests.integration.lab import (
    ONE_RESULT,
    QUEUE,
    Clinic,
    HeldBundle,
    LabProcess,
    assert_acknowledged,
    completed,
    running_lab,
    store_small_study,
    stored_objects,
)
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.wire import AckHold


def test_a_request_becomes_one_segmentation_one_report_and_one_completed(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode
) -> None:
    study = store_small_study(orthanc)
    with running_lab(**arguments) as lab:
        clinic.ask(study.request())
        replies = clinic.replies(lambda r: bool(completed(r)))
        assert lab.count("job.accepted") == 1
    assert_acknowledged(clinic)
    assert isinstance(replies[0], InferenceAccepted)
    (event,) = completed(replies)
    # The block of 2 x 4 x 4 voxels of 2.5 x 0.8 x 0.6 mm.
    assert event.volume_voxels == 32
    assert event.volume_ml == pytest.approx(32 * 2.5 * 0.8 * 0.6 / 1000)
    assert (event.slices, event.slices_with_tumor) == (6, 2)
    assert stored_objects(orthanc, study) == ONE_RESULT


def test_a_lab_killed_between_primary_and_report_costs_no_second_inference(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    # The primary is stored; the report is held on its way.
    with (
        Gate(orthanc.http_port, closes_after_stores=1) as gate,
        running_lab(**{**arguments, "archive_url": gate.url}) as first,
    ):
        clinic.ask(study.request())
        gate.wait_held()
        assert stored_objects(orthanc, study) == {"SEG": 1}
        first.service.kill()
    with running_lab(**arguments) as second:
        replies = clinic.replies(lambda r: bool(completed(r)))
        assert second.count("job.skip_inference") == 1
    assert_acknowledged(clinic)
    (event,) = completed(replies)
    assert bundle.inferences == 1
    assert event.volume_voxels == 32
    assert "infer" not in event.stage_seconds
    assert stored_objects(orthanc, study) == ONE_RESULT


def test_a_lab_killed_between_completed_and_ack_costs_nothing_and_the_figures_are_the_same(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    broker: TestBroker = arguments["broker"]
    with (
        AckHold(broker.node.amqp_port) as hold,
        running_lab(**arguments, broker_port=hold.port) as first,
    ):
        clinic.ask(study.request())
        (before,) = completed(clinic.replies(lambda r: bool(completed(r))))
        assert hold.acks_held.wait(30), "the lab did not acknowledge"
        first.service.kill()
    wait_until(lambda: clinic.ready(QUEUE) == 1, "give the delivery back", 30)
    with running_lab(**arguments) as second:
        (after,) = completed(clinic.replies(lambda r: bool(completed(r))))
        assert second.count("job.skip_inference") == 1
    assert_acknowledged(clinic)
    assert bundle.inferences == 1
    figures = {"attempt", "delivery", "sequence", "at", "stage_seconds"}
    assert after.model_dump(exclude=figures) == before.model_dump(exclude=figures)
    assert after.event_id == before.event_id
    assert after.delivery > before.delivery
    assert stored_objects(orthanc, study) == ONE_RESULT


def test_a_request_that_was_published_twice_is_worked_on_once_and_both_are_settled(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments, prefetch=2) as lab:
        request = study.request()
        clinic.ask(request)
        clinic.ask(request)
        lab.wait_for("delivery.adopt")
        bundle.release()
        replies = clinic.replies(lambda r: bool(completed(r)))
        assert lab.count("job.accepted") == 1
    assert_acknowledged(clinic)
    assert len(completed(replies)) == bundle.inferences == 1


def test_a_lab_that_is_stopped_hands_back_what_it_cannot_finish_and_leaves_no_process(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments, stop_grace_seconds=1) as lab:
        clinic.ask(study.request())
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        children = lab.processes()
        assert len(children) >= 3, "the lab, its reader and its segmenter"
        lab.service.terminate()
        wait_until(lambda: not lab.service.alive, "end within its grace", 20)
        wait_until(lambda: not lab.processes(), "leave no process", 5)
        assert lab.count("lab.stopped") == 1
    assert clinic.ready(QUEUE) == 1
    bundle.release()
    with running_lab(**arguments):
        assert completed(clinic.replies(lambda r: bool(completed(r))))
    assert_acknowledged(clinic)
    assert stored_objects(orthanc, study) == ONE_RESULT


def test_a_segmenter_that_is_killed_ends_in_a_retry_and_not_in_the_end_of_the_lab(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments) as lab:
        clinic.ask(study.request())
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        os.kill(int((bundle.path / "pid").read_text()), signal.SIGKILL)
        replies = clinic.replies(
            lambda r: isinstance(r[-1], InferenceRetryScheduled) if r else False
        )
        assert isinstance(replies[-1], InferenceRetryScheduled)
        assert replies[-1].code is FailureCode.WORKER_CRASHED
        bundle.release()
        again = study.request()
        clinic.ask(again)
        assert (
            completed(clinic.replies(lambda r: bool(completed(r))))[0].request_id
            == again.request_id
        )
        assert lab.service.alive


def test_an_archive_that_refuses_uploads_keeps_the_request_until_it_accepts_again(
    tmp_path: Path, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    with running_rabbit(tmp_path / "rabbit", retry_seconds=2) as broker:
        clinic = Clinic(broker)
        study = store_small_study(orthanc)
        with (
            Gate(orthanc.http_port, refuses_stores=True) as gate,
            running_lab(
                tmp_path,
                broker=broker,
                archive=orthanc,
                archive_url=gate.url,
                bundle=bundle.path,
            ),
        ):
            clinic.ask(study.request())
            replies = clinic.replies(
                lambda r: isinstance(r[-1], InferenceRetryScheduled) if r else False
            )
            assert isinstance(replies[-1], InferenceRetryScheduled)
            assert replies[-1].code is FailureCode.ARCHIVE_UNAVAILABLE
            assert stored_objects(orthanc, study) == {}
            gate.accept_stores()
            replies = clinic.replies(lambda r: bool(completed(r)))
            assert completed(replies)[0].attempt > 1
            wait_until(lambda: clinic.total() == 0, "leave nothing with the broker", 30)
        assert stored_objects(orthanc, study) == ONE_RESULT


def test_heartbeats_flow_during_an_inference_longer_than_three_heartbeat_intervals(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments, amqp_heartbeat=2) as lab:
        clinic.ask(study.request())
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        # The broker drops a silent connection after two intervals; its own clock decides.
        clinic.wait_for_heartbeats("lab1", seconds=7)
        bundle.release()
        replies = clinic.replies(lambda r: bool(completed(r)))
        assert lab.count("broker.consuming") == 1, "the connection was lost"
    assert completed(replies)[0].delivery == 0


def test_a_broker_restarted_under_a_running_request_changes_nothing_in_the_outcome(
    tmp_path: Path, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    with running_rabbit(tmp_path / "rabbit") as broker:
        clinic = Clinic(broker)
        study = store_small_study(orthanc)
        bundle.hold()
        with running_lab(
            tmp_path, broker=broker, archive=orthanc, archive_url=orthanc.url, bundle=bundle.path
        ) as lab:
            clinic.ask(study.request())
            wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
            broker.node.restart()
            wait_until(lambda: lab.count("broker.consuming") == 2, "consume again", 60)
            bundle.release()
            replies = clinic.replies(lambda r: bool(completed(r)))
        assert_acknowledged(clinic)
        assert len(completed(replies)) == 1
        assert bundle.inferences == 1, "the running inference was thrown away"
        assert stored_objects(orthanc, study) == ONE_RESULT


def test_garbage_becomes_a_dead_letter_and_the_next_request_is_processed(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode
) -> None:
    study = store_small_study(orthanc)
    with running_lab(**arguments) as lab:
        clinic.send_raw(b"\x00garbage", "lab.held", type_="what.is.this")
        clinic.ask(study.request())
        body, headers = clinic.dead()
        assert body == b"\x00garbage"
        assert headers["x-death"][0]["reason"] == "rejected"
        assert completed(clinic.replies(lambda r: bool(completed(r))))
        assert lab.count("delivery.reject") == 1


def test_a_request_of_a_newer_version_waits_in_a_retry_tier_and_nothing_else_does(
    arguments: dict[str, Any], clinic: Clinic
) -> None:
    with running_lab(**arguments):
        clinic.send_raw(b'{"new": true}', "lab.held", type_="inference.requested.v2")
        # No request: nobody will ever read it here.
        clinic.send_raw(b"{}", "lab.held", type_="lab.heartbeat.v2")
        tier = topology.retry_queue("lab", "2m")
        wait_until(lambda: clinic.ready(tier) == 1, "put it into the tier", 30)
        assert clinic.dead()[0] == b"{}"
    assert_acknowledged(clinic)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "not-served"}, FailureCode.MODEL_UNAVAILABLE),
        ({"inputs": 3}, FailureCode.WRONG_PHASE_COUNT),
        ({"study_uid": "1.2.3.4"}, FailureCode.SERIES_NOT_FOUND),
    ],
)
def test_a_request_that_cannot_succeed_fails_at_once_with_its_code(
    shared_lab: LabProcess,
    clinic: Clinic,
    orthanc: OrthancNode,
    change: dict[str, Any],
    code: FailureCode,
) -> None:
    study = store_small_study(orthanc)
    if "inputs" in change:
        change = {"inputs": study.inputs[: change["inputs"]]}
    clinic.ask(study.request(pool="server", **change))
    replies = clinic.replies(
        lambda r: isinstance(r[-1], InferenceFailed) if r else False, pool="server"
    )
    assert shared_lab.service.alive
    assert isinstance(replies[-1], InferenceFailed)
    assert replies[-1].code is code


@pytest.fixture(scope="module")
def shared_lab(
    tmp_path_factory: pytest.TempPathFactory, rabbit: TestBroker, orthanc: OrthancNode
) -> Iterator[LabProcess]:
    """One lab for tests that do not disturb it, in a pool that no other test asks."""
    directory = tmp_path_factory.mktemp("shared-lab")
    with running_lab(
        directory,
        broker=rabbit,
        archive=orthanc,
        archive_url=orthanc.url,
        bundle=HeldBundle(directory).path,
        name="server1",
    ) as lab:
        yield lab
