"""Headers that pika cannot read are no headers, and no end of the lab."""

from __future__ import annotations

import struct

import pytest
from pika import spec

from consumer.amqp import tolerant


def properties(value: bytes) -> spec.BasicProperties:
    """As the broker delivers a message with one header of that encoded value."""
    pair = bytes([4]) + b"when" + value
    headers = struct.pack(">I", len(pair)) + pair
    flags = spec.BasicProperties.FLAG_HEADERS | spec.BasicProperties.FLAG_MESSAGE_ID
    message_id = bytes([2]) + b"m1"
    return spec.BasicProperties().decode(struct.pack(">H", flags) + headers + message_id)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Named so that it is put back for the other tests.
    monkeypatch.setattr("pika.data.decode_table", tolerant.table)


@pytest.mark.parametrize(
    "value",
    [
        b"T" + struct.pack(">Q", 1_515_000_000_000),
        b"T" + struct.pack(">Q", 2**64 - 1),
        b"?" + b"\x00",
    ],
    ids=["the year 50 000", "no year at all", "a type of nobody"],
)
def test_what_follows_an_unreadable_header_is_still_read(value: bytes) -> None:
    read = properties(value)
    assert read.headers == {}
    assert read.message_id == "m1"


def test_readable_headers_are_read() -> None:
    assert properties(b"I" + struct.pack(">i", 3)).headers == {"when": 3}
