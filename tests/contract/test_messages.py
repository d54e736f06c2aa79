"""The wire format: committed schemas, both directions across versions, and clear refusals."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from messages import codec, identity, schemas, topology, topology_before
from messages.control import CancelRequested
from messages.envelope import ATTEMPT_HEADER, MAX_BODY_BYTES, Message
from messages.errors import ContractError, UndecodableMessage, UnknownVersion
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    ModelReference,
    Stage,
)
from messages.failures import FAILURE_TEXTS, FailureCode
from messages.lab import LabHeartbeat, LabModel, ModelDescriptor
from messages.request import InferenceRequested, InputSeries, PhaseSelector

ROOT = Path(__file__).parents[2]
REQUEST = UUID("11111111-2222-4333-8444-555555555555")
ORTHANC_ID = "01234567-89abcdef-01234567-89abcdef-01234567"
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RUN: dict[str, Any] = {
    "request_id": REQUEST,
    "attempt": 2,
    "delivery": 1,
    "sequence": 3,
    "lab": "lab1",
    "at": AT,
}

MODEL = ModelDescriptor(
    name="m",
    version="1",
    sha256="b" * 64,
    roles=("image",),
    labels=("tumor",),
    notice="Not for clinical use.",
)

EXAMPLES: list[Message] = [
    InferenceRequested(
        request_id=REQUEST,
        attempt=1,
        pool="lab",
        model="breast_dce_phantom",
        study_uid="1.2.3",
        inputs=(
            InputSeries(
                role="pre",
                series_id=ORTHANC_ID,
                series_uid="1.2.3.4",
                instance_count=134,
                phase_selector=PhaseSelector(keyword="TemporalPositionIdentifier", value="1"),
            ),
        ),
        threshold=0.5,
        deadline_s=3600,
    ),
    InferenceAccepted(**RUN),
    InferenceProgressed(**RUN, stage=Stage.INFERRING, done=1, total=4),
    InferenceRetryScheduled(**RUN, code=FailureCode.ARCHIVE_UNAVAILABLE, next_at=AT),
    InferenceCompleted(
        **RUN,
        seg_instance_id=ORTHANC_ID,
        sr_instance_id=ORTHANC_ID,
        tumor_detected=True,
        volume_voxels=100,
        volume_ml=0.4,
        longest_diameter_mm=11.2,
        slices=134,
        slices_with_tumor=7,
        model=ModelReference(name="m", version="0.1.0", sha256="a" * 64),
        stage_seconds={"download": 0.2, "infer": 4.5},
    ),
    InferenceFailed(
        **RUN, code=FailureCode.GEOMETRY_MISMATCH, detail="slice 7", stage_seconds={"read": 0.1}
    ),
    InferenceCancelled(**RUN),
    CancelRequested(request_id=REQUEST),
    LabHeartbeat(
        lab="lab1",
        pool="lab",
        process=REQUEST,
        device="cpu",
        models=(MODEL,),
        fingerprints=(MODEL.fingerprint,),
        current=(REQUEST,),
        at=AT,
    ),
    LabModel(lab="lab1", pool="lab", model=MODEL, at=AT),
]


def by_type(message: Message) -> str:
    return message.wire_type()


def test_there_is_an_example_of_every_message() -> None:
    assert [type(m) for m in EXAMPLES] == list(codec.ALL_MESSAGES)


@pytest.mark.parametrize("message", EXAMPLES, ids=by_type)
def test_a_message_survives_the_wire(message: Message) -> None:
    wire = codec.encode(message, app_id="test", user_id="lab1")
    assert codec.decode(wire.body, type_=wire.type, content_type=wire.content_type) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=by_type)
def test_an_old_reader_takes_a_newer_message_with_more_fields(message: Message) -> None:
    wire = codec.encode(message, app_id="test")
    newer = json.dumps(json.loads(wire.body) | {"added_later": {"x": 1}}).encode()
    assert codec.decode(newer, type_=wire.type) == message


#: Bodies as the first release wrote them. Never edit one: add the next below it.
RELEASED = ROOT / "tests" / "contract" / "released"


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.json")), ids=lambda p: p.name)
def test_a_new_reader_takes_every_message_that_was_ever_released(path: Path) -> None:
    type_ = path.name.removesuffix(".json")
    assert codec.decode(path.read_bytes(), type_=type_).wire_type() == type_


def test_every_message_has_a_released_body() -> None:
    assert {p.name.removesuffix(".json") for p in RELEASED.glob("*.json")} == {
        m.wire_type() for m in codec.ALL_MESSAGES
    }


def test_the_committed_schemas_are_those_of_the_models() -> None:
    committed = {
        p.name: p.read_text(encoding="utf-8") for p in (ROOT / "messages/schemas").glob("*.json")
    }
    assert committed == schemas.rendered(), "run: make schemas"


def test_the_committed_definitions_are_those_of_the_topology() -> None:
    committed = (ROOT / "infra/rabbitmq/definitions.json").read_text(encoding="utf-8")
    assert committed == topology.rendered(), "run: make definitions"
    bridges = (ROOT / "infra/rabbitmq/upgrade.json").read_text(encoding="utf-8")
    assert bridges == topology_before.rendered(), "run: make definitions"
    assert topology_before.output([]) == bridges


def test_the_bridges_of_pools_of_ones_own_are_printed_beside_the_others() -> None:
    printed = json.loads(topology_before.output(["--pool", "ward", "--pool", "night"]))
    assert printed == topology_before.upgrade([*topology.POOLS, "ward", "night"])
    bridged = {one["source"] for one in printed["bindings"]}
    assert {topology.events_exchange(pool) for pool in ("ward", "night", "lab")} <= bridged
    assert "set_permissions -p mri lab7 " in topology_before.output(["lab7", "ward"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lab7"], "give a lab and its pool"),
        (["lab7", "ward", "--pool", "ward"], "give a lab and its pool"),
        (["--pool", "Ward 7"], "'Ward 7' is no name of a lab or pool"),
    ],
)
def test_wrong_arguments_for_the_bridges_are_a_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        topology_before.output(arguments)
    assert said in capsys.readouterr().err


def test_a_known_type_in_an_unknown_version_is_kept_for_a_newer_reader() -> None:
    with pytest.raises(UnknownVersion, match=r"version 2 of inference\.requested"):
        codec.decode(b"{}", type_="inference.requested.v2")


@pytest.mark.parametrize(
    ("type_", "field", "word"),
    [
        ("inference.failed.v1", "code", "a_code_of_tomorrow"),
        ("inference.retry_scheduled.v1", "code", "a_code_of_tomorrow"),
        ("inference.progressed.v1", "stage", "a_stage_of_tomorrow"),
    ],
)
def test_a_word_of_a_newer_sender_is_kept_for_a_newer_reader(
    type_: str, field: str, word: str
) -> None:
    body = json.loads((RELEASED / f"{type_}.json").read_bytes()) | {field: word}
    with pytest.raises(UnknownVersion):
        codec.decode(json.dumps(body).encode(), type_=type_)
    with pytest.raises(UndecodableMessage):
        codec.decode(json.dumps(body | {"attempt": 0}).encode(), type_=type_)


def test_all_messages_of_a_request_are_one_trace() -> None:
    of_labs = (LabHeartbeat, LabModel)
    wires = [codec.encode(m, app_id="test") for m in EXAMPLES if not isinstance(m, of_labs)]
    for wire in wires:
        version, trace, span, flags = str(wire.headers["traceparent"]).split("-")
        assert (version, trace, len(span), flags) == ("00", REQUEST.hex, 16, "01")


@pytest.mark.parametrize(
    ("body", "type_", "content_type"),
    [
        (b"{}", None, None),
        (b"{}", "inference.exploded.v1", None),
        (b"{}", "inference.requested", None),
        (b"{}", b"\xff\xfe", None),
        (b"{}", "inference.requested.v1", b"\xff\xfe"),
        (b"{}", "inference.requested.v1", "text/plain"),
        (b"{}", "inference.requested.v1", None),
        (b"\xff\xfe", "inference.requested.v1", None),
        (b"[]", "cancel.requested.v1", None),
        (b"{" * 5000, "cancel.requested.v1", None),
        (b'{"request_id": "not-a-uuid"}', "cancel.requested.v1", None),
        (b" " * (MAX_BODY_BYTES + 1), "cancel.requested.v1", None),
    ],
)
def test_what_is_no_message_of_ours_is_refused(
    body: bytes, type_: str | bytes | None, content_type: str | bytes | None
) -> None:
    with pytest.raises(UndecodableMessage):
        codec.decode(body, type_=type_, content_type=content_type)


def test_a_refusal_never_quotes_the_body() -> None:
    body = b'{"request_id": "HONG^GILDONG", "lab": "HONG^GILDONG"}'
    with pytest.raises(UndecodableMessage) as caught:
        codec.decode(body, type_="inference.accepted.v1")
    assert "HONG" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_message_that_would_be_too_large_is_not_sent() -> None:
    long = MODEL.model_copy(update={"labels": ("x" * 64,) * 512})
    many = tuple(long.model_copy(update={"name": f"m{n}"}) for n in range(4))
    heartbeat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=many, at=AT)
    with pytest.raises(ContractError, match="bytes long"):
        codec.encode(heartbeat, app_id="test")


TOO_MUCH = 2**31

#: What no column, no clock and no page of the site could take, one field at a time.
OUT_OF_BOUNDS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("inference.accepted.v1", {field: value})
        for field in ("attempt", "delivery", "sequence")
        for value in (TOO_MUCH, 2**63, 2**200, -1, 1.5, "1e400")
    ),
    ("inference.accepted.v1", {"at": "2026-11-30T12:00:00"}),
    ("inference.accepted.v1", {"at": "99999-01-01T00:00:00Z"}),
    ("inference.accepted.v1", {"lab": "x" * 64}),
    *(
        ("inference.progressed.v1", {field: value})
        for field in ("done", "total")
        for value in (TOO_MUCH, 2**63, -1)
    ),
    *(
        ("inference.completed.v1", {field: value})
        for field in ("volume_voxels", "slices", "slices_with_tumor")
        for value in (TOO_MUCH, 2**63, -1)
    ),
    *(
        ("inference.completed.v1", {field: value})
        for field in ("volume_ml", "longest_diameter_mm")
        for value in (1e308, -0.1, "Infinity", "NaN")
    ),
    ("inference.completed.v1", {"stage_seconds": {"infer": 1e30}}),
    ("inference.completed.v1", {"stage_seconds": {"infer": "NaN"}}),
    ("inference.completed.v1", {"stage_seconds": {f"stage{n}": 1.0 for n in range(33)}}),
    ("inference.completed.v1", {"stage_seconds": {"x" * 1000: 1.0}}),
    ("inference.completed.v1", {"model": {"name": "m", "version": "x" * 65, "sha256": "a" * 64}}),
    ("inference.completed.v1", {"model": {"name": "m", "version": "1\x00", "sha256": "a" * 64}}),
    ("inference.failed.v1", {"detail": "x" * 501}),
    ("inference.failed.v1", {"detail": "nul \x00"}),
    ("inference.retry_scheduled.v1", {"next_at": "2026-11-30T12:00:00"}),
    ("lab.heartbeat.v1", {"current": [str(UUID(int=n)) for n in range(257)]}),
    ("lab.heartbeat.v1", {"fingerprints": ["a" * 64] * 65}),
    ("lab.heartbeat.v1", {"models": [MODEL.model_dump(mode="json")] * 65}),
    ("lab.heartbeat.v1", {"device": "x" * 129}),
    ("lab.heartbeat.v1", {"device": "nul \x00"}),
    ("lab.model.v1", {"model": MODEL.model_dump() | {"labels": ["x"] * 513}}),
    ("lab.model.v1", {"model": MODEL.model_dump() | {"labels": ["x" * 65]}}),
    ("lab.model.v1", {"model": MODEL.model_dump() | {"labels": ["\x00"]}}),
    ("lab.model.v1", {"model": MODEL.model_dump() | {"roles": [f"r{n}" for n in range(17)]}}),
    ("lab.model.v1", {"model": MODEL.model_dump() | {"notice": "x" * 501}}),
    ("inference.requested.v1", {"deadline_s": TOO_MUCH}),
    ("inference.requested.v1", {"retries": TOO_MUCH}),
]


@pytest.mark.parametrize(("type_", "change"), OUT_OF_BOUNDS)
def test_what_the_site_could_not_keep_is_no_message(type_: str, change: dict[str, Any]) -> None:
    body = json.loads((RELEASED / f"{type_}.json").read_bytes()) | change
    with pytest.raises(UndecodableMessage):
        codec.decode(json.dumps(body).encode(), type_=type_)


def test_a_lab_can_describe_as_many_models_and_labels_as_the_field_has() -> None:
    brain = MODEL.model_copy(update={"labels": tuple(f"structure number {n}" for n in range(133))})
    zoo = tuple(brain.model_copy(update={"name": f"bundle{n}"}) for n in range(31))
    for one in zoo:
        codec.encode(LabModel(lab="lab1", pool="lab", model=one, at=AT), app_id="test")
    prints = tuple(one.fingerprint for one in zoo)
    assert len(set(prints)) == 31
    beat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", fingerprints=prints, at=AT)
    assert len(codec.encode(beat, app_id="test").body) < 16 * 1024


@pytest.mark.parametrize(
    ("headers", "delivery"),
    [
        (None, 0),
        ({}, 0),
        ({"x-delivery-count": 2}, 2),
        # RabbitMQ 4.3 after a consumer timeout: the first count stays.
        ({"x-acquired-count": 1}, 1),
        ({"x-delivery-count": 1, "x-acquired-count": 3}, 3),
        ({"x-delivery-count": "many", "x-acquired-count": -4}, 0),
        ({"x-delivery-count": True, "x-acquired-count": 2**70}, 1_000_000),
    ],
)
def test_a_run_is_known_by_every_way_back_that_the_broker_counts(
    headers: dict[str, Any] | None, delivery: int
) -> None:
    assert identity.delivery_of(headers) == delivery


@pytest.mark.parametrize(
    "bad", ["../../etc", "0123", ORTHANC_ID.upper(), ORTHANC_ID + "\n", ORTHANC_ID + "/../x"]
)
def test_a_series_id_that_is_no_orthanc_id_cannot_enter_a_request(bad: str) -> None:
    with pytest.raises(ValidationError):
        InputSeries(role="pre", series_id=bad, series_uid="1.2", instance_count=1)


def test_properties_carry_the_request_the_attempt_and_a_repeatable_event_id() -> None:
    accepted = InferenceAccepted(**RUN)
    first, second = (codec.encode(accepted, app_id="test", user_id="lab1") for _ in range(2))
    assert first.correlation_id == str(REQUEST)
    assert first.headers[ATTEMPT_HEADER] == first.attempt == 2
    assert first.message_id == second.message_id == str(identity.event_id(REQUEST, 2, 1, 3))


def test_completed_has_one_identity_whichever_run_tells_it() -> None:
    completed = next(m for m in EXAMPLES if isinstance(m, InferenceCompleted))
    other = completed.model_copy(update={"attempt": 3, "delivery": 0, "sequence": 9})
    assert completed.event_id == other.event_id == identity.completed_event_id(REQUEST)


def test_derived_uids_are_valid_and_differ_by_object_and_request() -> None:
    makers = (
        identity.primary_series_uid,
        identity.primary_instance_uid,
        identity.report_series_uid,
        identity.report_instance_uid,
    )
    uids = [make(request) for make in makers for request in (REQUEST, UUID(int=1))]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
    # Frozen: another value would give the requests of today other objects tomorrow.
    assert identity.primary_instance_uid(REQUEST) == "2.25.185500563594571325354280962994908908759"


def test_each_failure_has_a_sentence_for_reader_and_operator_in_both_languages() -> None:
    assert set(FAILURE_TEXTS) == set(FailureCode)
    for text in FAILURE_TEXTS.values():
        for sentence in (text.reader_en, text.reader_ko, text.operator_en, text.operator_ko):
            assert sentence.endswith(".")
        for sentence in (text.reader_ko, text.operator_ko):
            assert any("가" <= letter <= "힣" for letter in sentence)
