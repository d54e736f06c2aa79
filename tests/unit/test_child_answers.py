"""What a child answers is read as what its function returns, and as nothing else."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.children import reader, segmenter, wire
from consumer.errors import LabError, ModelFailed
from consumer.memory import MemoryFile, MemoryPath
from consumer.payloads import (
    Figures,
    LesionFacts,
    Measured,
    PackagedPrimary,
    StoredModel,
    VolumeHeader,
)
from messages.phases.scale import Scale
from tests import child_work
from tests.unit.job_bench import INDEX

HEADER = VolumeHeader(
    roles=("pre", "post1"),
    shape=(2, 2, 3, 3),
    affine_lps=((0.1, 1 / 3, float("inf"), -0.0),) * 4,
    spacing=(2.5, 0.7, 0.7),
    instances=((("1.2", "3.4"), ("1.2", "3.5")),) * 2,
    seconds=(0.0, None),
    slice_indices=(INDEX, INDEX),
    scale=Scale.FIRST_PHASE,
    input_sha256="ab" * 32,
)

PRIMARY = PackagedPrimary("seg", "1.2", "3.4", bytes(range(256)))

MEASURED = Measured(
    figures=Figures(True, 7, 0.1, 3.3, 2, 1),
    model=StoredModel("model", "1.0", "ab" * 32),
    report=b"\0\xff",
    key_slices=(b"\x80", b""),
    lesions=(LesionFacts("1", 0.1, 3.3, 3.0, None, "washout", "left"),),
    curves_withheld="한국어",
)


def there_and_back(function: Any, value: object) -> Any:
    whole = wire.returned(function, value)
    kind, length = wire.ANSWER.unpack_from(whole)
    body = whole[wire.ANSWER.size :]
    assert len(body) == length
    return wire.read(kind, body, function)


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (reader.package, PRIMARY),
        (reader.measure_stored, MEASURED),
        (segmenter.load_all, None),
        (segmenter.look_at, segmenter.DeviceFacts(usable=False, text="a", fix="b")),
        (child_work.double, 42),
        (child_work.limits, {"a": 1}),
    ],
)
def test_what_the_functions_return_arrives_whole(function: Any, value: object) -> None:
    assert there_and_back(function, value) == value


def test_the_header_of_a_volume_arrives_whole() -> None:
    header = there_and_back(reader.read_phases, HEADER)
    grid, sent = header.slice_indices[0].grid, INDEX.grid
    np.testing.assert_array_equal(grid.positions, sent.positions)
    assert grid.positions.dtype == np.float64
    assert header.slice_indices[0].places == INDEX.places
    for name in ("roles", "shape", "affine_lps", "spacing", "instances", "seconds", "scale"):
        assert getattr(header, name) == getattr(HEADER, name)


@pytest.mark.parametrize(
    "body",
    [
        pickle.dumps(PRIMARY),
        b"",
        b"null",
        b"{",
        b'{"kind": "pdf", "sop_instance_uid": "1", "series_uid": "2", "dicom_bytes": ""}',
        b'{"kind": "seg", "sop_instance_uid": 1, "series_uid": "2", "dicom_bytes": ""}',
        b"[" * 100_000,
    ],
)
def test_what_the_function_cannot_have_returned_is_no_answer(body: bytes) -> None:
    with pytest.raises(wire.NoAnswer):
        wire.read(wire.RETURNED, body, reader.package)


@pytest.mark.parametrize("kind", [b"\0", b"Z", wire.BEGAN])
def test_an_answer_of_another_kind_is_none(kind: bytes) -> None:
    with pytest.raises(wire.NoAnswer):
        wire.read(kind, b"", reader.package)


def test_an_error_of_a_job_arrives_with_its_sentence_on_one_line() -> None:
    kind, _ = wire.ANSWER.unpack_from(wire.raised(ModelFailed("a", raised="KeyError")))
    words = {"error": "ModelFailed", "detail": "a\nforged \x1b[31mline", "raised": "Key Error\n"}
    with pytest.raises(ModelFailed) as caught:
        wire.read(kind, json.dumps(words).encode(), segmenter.segment)
    assert caught.value.detail == "a forged  [31mline"
    assert caught.value.raised == ""


@pytest.mark.parametrize(
    "error", ["LabStopping", "RequestCancelled", "LabError", "Retry", "Exception", "ClassVar", "no"]
)
def test_an_error_that_is_none_of_a_job_is_no_answer(error: str) -> None:
    """None of them may be a child's to raise: some settle a request as nobody has decided."""
    body = json.dumps({"error": error, "detail": "", "raised": ""}).encode()
    with pytest.raises(wire.NoAnswer):
        wire.read(wire.FAILED, body, segmenter.segment)


def test_every_error_of_a_job_arrives() -> None:
    def kinds(base: type[LabError]) -> list[type[LabError]]:
        return [kind for one in base.__subclasses__() for kind in (one, *kinds(one))]

    for kind in kinds(LabError):
        if hasattr(kind, "code"):
            whole = wire.raised(kind("a sentence", raised="ValueError"))
            with pytest.raises(kind, match="a sentence"):
                wire.read(whole[:1], whole[wire.ANSWER.size :], segmenter.segment)


def test_another_error_comes_by_its_class_alone() -> None:
    whole = wire.raised(ValueError("Phantom^Patient"))
    assert b"Phantom" not in whole
    with pytest.raises(wire.ChildRaised, match=r"^ValueError$"):
        wire.read(whole[:1], whole[wire.ANSWER.size :], segmenter.segment)


def test_memory_goes_along_as_a_descriptor_and_in_no_other_pickle() -> None:
    with MemoryFile() as one, MemoryFile() as other:
        body, descriptors = wire.request(print, (one.path, other.path, one.path), {})
        assert descriptors == [one.path.descriptor, other.path.descriptor]
        _, (first, second, third), _ = wire.call_of(body, [71, 72])
        assert (first, second, third) == (MemoryPath(71), MemoryPath(72), MemoryPath(71))
        with pytest.raises(TypeError, match="descriptor"):
            pickle.dumps(one.path)


def test_sealed_memory_can_be_read_and_neither_changed_nor_cut_short() -> None:
    with MemoryFile() as memory:
        memory.write(b"12345678")
        memory.seal()
        with Path(memory.path).open("r+b", buffering=0) as file:
            with pytest.raises(PermissionError):
                file.write(b"x")
            with pytest.raises(PermissionError):
                file.truncate(1)
        assert memory.map()[:] == b"12345678"
