"""The lab ends: told to stop, or drained for maintenance."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import topology
from messages.events import InferenceAccepted, InferenceCancelled
from messages.lab import DRAINING
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
from tests.integration.nodes import running_rabbit

#: Seconds of grace that no test waits for.
LONG = 300


def wait_ended(lab: LabProcess, timeout: float = 60.0) -> None:
    wait_until(lambda: not lab.service.alive, "end", timeout)
    assert lab.count("lab.stopped") == 1, lab.service.log_tail()


def test_a_lab_that_is_stopped_finishes_what_has_begun_and_hands_back_the_rest_at_once(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    suspect, running = study.request(), study.request()
    clinic.ask(suspect)
    clinic.wear(QUEUE, "lab1", 3)
    clinic.ask(running)
    with running_lab(**arguments, prefetch=2, stop_grace_seconds=LONG) as lab:
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        clinic.heartbeats(lambda h: {suspect.request_id, running.request_id} == {*h.current})
        lab.signal(signal.SIGTERM)
        wait_until(lambda: clinic.ready(QUEUE) == 1, "hand back what has not begun", 30)
        assert lab.service.alive
        assert lab.count("lab.stopped") == 0
        bundle.release()
        (event,) = completed(clinic.replies(lambda r: bool(completed(r))))
        assert event.request_id == running.request_id
        wait_ended(lab)
    assert clinic.ready(QUEUE) == 1
    assert stored_objects(orthanc, study) == ONE_RESULT


def test_a_cancel_is_still_heard_within_the_grace(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments, stop_grace_seconds=LONG) as lab:
        request = study.request()
        clinic.ask(request)
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        lab.signal(signal.SIGTERM)
        lab.wait_for("broker.paused")
        clinic.cancel(request.request_id)
        clinic.replies(lambda r: any(isinstance(m, InferenceCancelled) for m in r))
        wait_ended(lab)
    assert_acknowledged(clinic)
    assert stored_objects(orthanc, study) == {}


def test_a_drained_lab_finishes_what_it_holds_takes_no_more_and_ends(
    arguments: dict[str, Any], clinic: Clinic, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    bundle.hold()
    with running_lab(**arguments, stop_grace_seconds=0) as lab:
        first, later = study.request(), study.request()
        clinic.ask(first)
        wait_until(lambda: bundle.inferences == 1, "begin the inference", 30)
        with lab.command("run") as second:
            _, refusal = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "A lab named lab1 runs on this machine already" in refusal
        with lab.command("drain") as drain:
            clinic.heartbeats(lambda h: h.condition == DRAINING)
            clinic.ask(later)
            assert drain.poll() is None
            bundle.release()
            said, complaints = drain.communicate(timeout=120)
        assert (drain.returncode, complaints) == (0, "")
        assert said.splitlines() == [
            "lab1 takes no more; in hand: 1",
            *(["lab1 takes no more; in hand: 0"] if "hand: 0" in said else []),
            "lab1 has ended",
        ]
        wait_ended(lab)
        with lab.command("drain") as again:
            _, complaint = again.communicate(timeout=60)
        assert again.returncode == 1
        assert complaint.startswith("mri-consumer: No lab named lab1 runs on this machine")
    (event,) = completed(clinic.replies(lambda r: bool(completed(r))))
    assert event.request_id == first.request_id
    assert clinic.ready(QUEUE) == 1


def test_a_broker_in_alarm_is_waited_for_also_by_a_lab_that_stops(
    tmp_path: Path, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    with running_rabbit(tmp_path / "rabbit") as broker:
        clinic = Clinic(broker)
        # A message that the lab puts off, and a request.
        clinic.send_raw(b"{}", "lab.held", type_="inference.requested.v2")
        study = store_small_study(orthanc)
        clinic.ask(study.request())
        broker.node.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        with running_lab(
            tmp_path,
            broker=broker,
            archive=orthanc,
            archive_url=orthanc.url,
            bundle=bundle.path,
            prefetch=2,
            stop_grace_seconds=LONG,
        ) as lab:
            lab.wait_for("broker.blocked")
            lab.wait_for("delivery.defer")
            lab.wait_for("job.accepted")
            lab.signal(signal.SIGTERM)
            lab.wait_for("broker.paused")
            # Nothing is told while nothing is confirmed.
            assert clinic.ready(topology.replies_queue("lab")) == 0
            assert clinic.ready(topology.retry_queue("lab", "2m")) == 0
            broker.node.ctl("set_vm_memory_high_watermark", "0.9")
            wait_ended(lab)
            assert lab.count("broker.blocked") == lab.count("broker.unblocked") == 1
        assert clinic.ready(topology.retry_queue("lab", "2m")) == 1
        replies = clinic.replies(lambda r: bool(completed(r)))
        assert len([m for m in replies if isinstance(m, InferenceAccepted)]) == 1
        assert_acknowledged(clinic)
