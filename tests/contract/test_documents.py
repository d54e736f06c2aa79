"""The committed descriptions of the API and of what else travels are those of the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from messages import schemas, topology
from messages.codec import ALL_MESSAGES
from tests.contract.test_messages import EXAMPLES
from web.api import api
from web.asyncapi import document

DOCS = Path(__file__).parents[2] / "docs"


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def at(whole: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    for name in reference.removeprefix("#/").split("/"):
        whole = whole[name]
    return whole


@pytest.mark.parametrize(
    ("name", "rendered"),
    [("openapi.json", api.rendered), ("asyncapi.json", document.rendered)],
)
def test_a_committed_document_is_that_of_the_code(name: str, rendered: Any) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == rendered(), "run: make schemas"


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
def test_every_reference_in_a_document_leads_somewhere(name: str) -> None:
    whole = json.loads((DOCS / name).read_bytes())
    found = list(references(whole))
    assert found
    for reference in found:
        assert at(whole, reference)


def test_every_exchange_and_queue_that_somebody_uses_is_a_channel() -> None:
    channels = document.document()["channels"].values()
    bound = [channel["bindings"].get("amqp", {}) for channel in channels]
    named = {
        part[part_name]["name"]
        for part in bound
        for part_name in ("queue", "exchange")
        if part_name in part
    }
    # Where requests wait in a tier nobody takes them, and the broker itself writes dead letters.
    unused = {queue.name for queue in topology.queues() if queue.name.startswith("mri.retry.")}
    everything = {thing.name for thing in (*topology.exchanges(), *topology.queues())}
    # An exchange of the same name is one that the labs use.
    unused -= {exchange.name for exchange in topology.exchanges()}
    assert named == everything - unused


def test_a_message_is_described_like_in_its_own_schema() -> None:
    described = document.document()["components"]["schemas"]
    for message in ALL_MESSAGES:
        own = json.loads(schemas.rendered()[f"{message.wire_type()}.json"])
        parts = own.pop("$defs", {})
        text = json.dumps(own).replace("#/$defs/", "#/components/schemas/")
        assert described[message.__name__] == json.loads(text)
        assert parts.keys() <= described.keys()


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.wire_type())
def test_an_example_of_each_message_fits_its_description(message: Any) -> None:
    whole = document.document()
    described = whole["components"]["messages"][message.wire_type().replace(".", "_")]
    schema = described["payload"] | {"components": whole["components"]}
    Draft202012Validator(schema).validate(json.loads(message.model_dump_json(exclude_none=True)))


def test_every_operation_says_what_it_answers_to_whom_it_does_not_know() -> None:
    paths = json.loads((DOCS / "openapi.json").read_bytes())["paths"]
    operations = [one for methods in paths.values() for one in methods.values()]
    assert len(operations) == 17
    for operation in operations:
        assert {"401", "429"} <= operation["responses"].keys()
        assert operation["security"] == [{"Bearer": []}, {"Session": []}]
