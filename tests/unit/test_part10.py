"""What a file states of its own encoding, and the one object in a multipart answer."""

from __future__ import annotations

import pytest

from messages.part10 import EXPLICIT_LITTLE, only_part, transfer_syntax
from tests.dicom_factory import Series, part10

FILE = part10(Series(slices=1).datasets[0])
KIND = 'multipart/related; type="application/dicom"; boundary=edge'


def test_a_file_states_its_transfer_syntax() -> None:
    assert transfer_syntax(FILE) == EXPLICIT_LITTLE


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_a_file_that_is_cut_states_one_or_none(length: int) -> None:
    assert transfer_syntax(FILE[:length]) in {None, EXPLICIT_LITTLE, *_cut(EXPLICIT_LITTLE)}


def _cut(text: str) -> list[str]:
    return [text[:end].rstrip() for end in range(1, len(text))]


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(132), bytes(128) + b"DICM" + b"\xff" * 200])
def test_what_is_no_file_states_none(data: bytes) -> None:
    assert transfer_syntax(data) is None


def test_one_part_is_taken_as_it_is() -> None:
    body = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + FILE + b"\r\n--edge--"
    assert only_part(body, KIND) == FILE
    assert only_part(b"\r\n" + body + b"\r\n", KIND) == FILE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"--edge\r\n\r\nA\r\n--edge\r\n\r\nB\r\n--edge--", KIND),
        (b"--edge\r\n\r\nA", KIND),
        (b"--edge--", KIND),
        (b"", KIND),
        (b"--edge\r\n\r\nA\r\n--edge--", "application/dicom"),
        (b"--edge\r\n\r\nA\r\n--edge--", "multipart/related"),
    ],
)
def test_anything_else_than_one_whole_part_is_none(body: bytes, kind: str) -> None:
    assert only_part(body, kind) is None
