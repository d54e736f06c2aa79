"""The wire format: committed schemas, both directions across versions, and clear refusals."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from messages import codec, identity, schemas, topology
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
from messages.lab import LabHeartbeat, ModelDescriptor
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
        device="cpu",
        models=(
            ModelDescriptor(
                name="m",
                version="1",
                sha256="b" * 64,
                roles=("image",),
                labels=("tumor",),
                notice="Not for clinical use.",
            ),
        ),
        current=(REQUEST,),
        at=AT,
    ),
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
    wires = [codec.encode(m, app_id="test") for m in EXAMPLES if not isinstance(m, LabHeartbeat)]
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
    many = tuple(UUID(int=n) for n in range(2000))
    heartbeat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(), current=many, at=AT)
    with pytest.raises(ContractError, match="bytes long"):
        codec.encode(heartbeat, app_id="test")


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
