"""What a result was computed from: one number, the same on both sides, and never another's."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5, sha256

import pytest

from consumer.children.reader import measure_stored, package, read_phases
from consumer.dicom.series import digest_of
from consumer.memory import MemoryFile, create_array
from consumer.result.provenance import stated_input
from messages.input_digest import input_digest
from tests.dicom_factory import Series, index, spec

ONE, OTHER = ("1.2.3", "0" * 32), ("1.2.4", "f" * 32)


def test_the_digest_is_that_of_sorted_lines() -> None:
    lines = f"1.2.3 {'0' * 32}\n1.2.4 {'f' * 32}\n"
    assert input_digest([OTHER, ONE]) == sha256(lines.encode()).hexdigest()


def test_neither_order_nor_a_second_role_nor_upper_case_change_it() -> None:
    upper = (OTHER[0], OTHER[1].upper())
    assert input_digest([ONE, OTHER, ONE]) == input_digest([upper, ONE])


@pytest.mark.parametrize(
    "others", [[ONE], [ONE, OTHER, ("1.2.5", "0" * 32)], [ONE, ("1.2.4", "e" * 32)]]
)
def test_fewer_more_or_other_bytes_are_another_digest(others: list[tuple[str, str]]) -> None:
    assert input_digest(others) != input_digest([ONE, OTHER])


def test_the_lab_takes_every_file_of_every_series_once() -> None:
    pre, post = Series(slices=3), Series(slices=3)
    with MemoryFile() as memory:
        source = index(memory, pre=pre, post1=post)
        expected = input_digest(
            (str(ds.SOPInstanceUID), md5(file, usedforsecurity=False).hexdigest())
            for series in (pre, post)
            for ds, file in zip(series.datasets, series.files(), strict=True)
        )
        assert digest_of(source, {}) == expected
        twice = replace(source, phases=(*source.phases, replace(source.phases[0], role="last")))
        assert digest_of(twice, {}) == expected


@pytest.mark.parametrize("marked", [True, False], ids=["a segmentation", "nothing found"])
def test_a_result_that_is_stored_states_what_it_was_computed_from(marked: bool) -> None:
    with MemoryFile() as memory, MemoryFile() as voxels, MemoryFile() as marks:
        source = index(memory, image=Series(slices=4))
        header = read_phases(source, voxels.path)
        assert header.input_sha256 == digest_of(source, {})
        mask = create_array(marks.path, header.shape[1:], "uint8")
        mask[1:3, 2:5, 2:5] = marked
        silent = spec()
        made = replace(silent, input_sha256=header.input_sha256)
        stored = package(source, marks.path, header.shape[1:], made).dicom_bytes
        # As a redelivery has it, which reads the primary back and has computed nothing.
        assert measure_stored(stored, source, silent).input_sha256 == header.input_sha256
        older = package(source, marks.path, header.shape[1:], silent).dicom_bytes
        # As a redelivery to a newer lab of what an older one has stored.
        assert measure_stored(older, source, made).input_sha256 == ""


def test_what_somebody_else_wrote_in_its_place_is_no_digest() -> None:
    assert stated_input({"input_sha256": "all of them"}) == ""


def test_the_phases_of_a_series_that_nobody_chose_count_too() -> None:
    """Whether an image is of the chosen phase is said by the others as well."""
    series, later = Series(slices=3), Series(slices=3)
    for number, ds in enumerate(later.datasets, 4):
        ds.SeriesInstanceUID, ds.StudyInstanceUID = series.series_uid, series.study_uid
        ds.InstanceNumber = number
    for value, datasets in ((1, series.datasets), (2, later.datasets)):
        for ds in datasets:
            ds.TemporalPositionIdentifier = value
    series.datasets += later.datasets
    with MemoryFile() as memory, MemoryFile() as voxels:
        whole = index(memory, image=series)
        (phase,) = whole.phases
        chosen = replace(phase, instance_count=6, selector=("TemporalPositionIdentifier", "2"))
        header = read_phases(replace(whole, phases=(chosen,)), voxels.path)
        assert header.shape[1] == 3
        assert header.input_sha256 == digest_of(whole, {})
