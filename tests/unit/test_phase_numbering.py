"""Phases that only the numbering of the images tells apart: site, lab and run by hand alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.children import reader
from consumer.dicom import series
from consumer.dicom.files import read_file
from consumer.errors import LabError, PhasesOutOfOrder, SeriesChanged, WrongPhaseCount
from consumer.manual.choice import choose, concerns
from consumer.manual.facts import examine
from consumer.manual.options import CannotInfer, parse_phase_options
from consumer.memory import MemoryFile
from consumer.orthanc.images import Images
from consumer.payloads import DownloadIndex
from messages.phases import DCE_ROLES, PhaseFacts, SeriesFacts, Unclear
from messages.phases.check import Fault, check_choice
from messages.phases.numbering import count_of, number_value, numbered, or_numbered, place_of
from messages.phases.parts import ImageFacts, parts_of
from messages.request import PhaseSelector
from tests.dicom_factory import Series, place
from tests.layouts import ge
from tests.layouts.tags import Layout
from tests.unit import test_archive_web_layouts as site
from tests.unit import test_infer_layouts as manual
from web.phases.series_facts import read_series


def by_the_site(run: ge.Series) -> SeriesFacts:
    archive = site.Archive(Layout("one series", (run,)))
    (item,) = archive.items()
    return read_series(archive.orthanc, item).facts


def by_the_command(run: ge.Series) -> SeriesFacts:
    archive = manual.Archive(Layout("one series", (run,)))
    return examine(cast("Images", archive), run.series_id).facts


@pytest.mark.parametrize(
    ("run", "unclear"),
    [
        (ge.numbered(ge.by_phase), None),
        (ge.numbered(ge.by_place), None),
        (ge.numbered(lambda phase, place: ge.by_phase(phase, place) + 400), None),
        (ge.hole(), Unclear.INCOMPLETE_PHASE),
        (ge.double(), Unclear.NOT_SEPARABLE),
        (ge.numbered(ge.by_phase, count=""), Unclear.NOT_SEPARABLE),
        (ge.numbered(ge.by_phase, phases=9), Unclear.OTHER_COUNT),
        (ge.numbered(ge.by_place, phases=9, count="9"), Unclear.NOT_SEPARABLE),
        (ge.numbered(ge.by_phase, count="12"), Unclear.OTHER_COUNT),
        (ge.numbered(ge.by_phase, count="1"), Unclear.NOT_SEPARABLE),
        (ge.numbered(ge.by_phase, count="ten"), Unclear.NOT_SEPARABLE),
    ],
    ids=[
        "by phase",
        "by place",
        "not from 1 on",
        "an image is missing",
        "a number comes twice",
        "nothing counts the phases",
        "the last phase is missing",
        "numbers are missing",
        "more are said",
        "one is said",
        "no number is said",
    ],
)
def test_the_site_and_a_run_by_hand_say_the_same_of_a_numbering(
    run: ge.Series, unclear: Unclear | None
) -> None:
    found = by_the_site(run)
    told = [(phase.keyword, phase.value, phase.image_count) for phase in found.phases]

    assert found.unclear is unclear
    expected = [("InstanceNumber", f"{n}:10", 15) for n in range(1, 11)]
    assert told == ([] if unclear else expected)
    assert by_the_command(run).unclear is unclear
    assert [
        (phase.keyword, phase.value, phase.image_count) for phase in by_the_command(run).phases
    ] == told


@cache
def files_of(
    number: Callable[[int, int], int], *, count: int | None = 10, phases: int = 10
) -> tuple[Series, list[bytes]]:
    """A series of small images, in no order; grey is 100 x phase + slice, from 0."""
    first = Series(slices=15, rows=4, columns=4)
    found = []
    for phase in range(phases):
        grey = np.arange(15)[:, None, None] + np.full((15, 4, 4), 100 * phase)
        one = Series(
            slices=15,
            rows=4,
            columns=4,
            study_uid=first.study_uid,
            series_uid=first.series_uid,
            frame_uid=first.frame_uid,
            pixels=grey.astype(np.uint16),
        )
        for at, ds in enumerate(one.datasets):
            ds.InstanceNumber = number(phase, at)
            if count is not None:
                ds.NumberOfTemporalPositions = count
        found += one.files()
    random.Random(len(found)).shuffle(found)
    return first, found


def read(first: Series, files: list[bytes], values: Sequence[str]) -> np.ndarray:
    """The phases of these values, by the lab: (phases, slices, rows, columns)."""
    with MemoryFile() as memory, MemoryFile() as target:
        whole = place(memory, files, "pre", first.series_uid)
        chosen = tuple(
            type(whole)(**{**vars(whole), "role": role, "selector": ("InstanceNumber", value)})
            for role, value in zip(DCE_ROLES, values, strict=False)
        )
        header = reader.read_phases(DownloadIndex(first.study_uid, chosen), target.path)
        return target.open_array(header.shape, np.float32).copy()


@pytest.mark.parametrize(("number", "count"), [(ge.by_phase, 10), (ge.by_place, None)])
def test_the_lab_reads_the_phases_that_the_numbers_name(
    number: Callable[[int, int], int], count: int | None
) -> None:
    first, files = files_of(number, count=count)
    volume = read(first, files, ["1:10", "2:10", "3:10", "10:10"])

    assert volume.shape == (4, 15, 4, 4)
    for channel, phase in enumerate((0, 1, 2, 9)):
        assert set(volume[channel, :, 0, 0]) == {100.0 * phase + at for at in range(15)}


@pytest.mark.parametrize(
    ("how", "values", "error"),
    [
        ({}, ["1:9", "2:9"], SeriesChanged),
        ({}, ["11:10"], SeriesChanged),
        ({}, ["03:10"], SeriesChanged),
        ({}, ["3"], SeriesChanged),
        ({"count": 12}, ["1:10", "2:10"], WrongPhaseCount),
        ({"phases": 9}, ["1:9", "2:9"], WrongPhaseCount),
        ({}, ["2:10", "1:10"], PhasesOutOfOrder),
    ],
)
def test_the_lab_refuses_what_the_numbers_do_not_say(
    how: dict[str, int], values: list[str], error: type[LabError]
) -> None:
    first, files = files_of(ge.by_phase, **how)
    with pytest.raises(error):
        read(first, files, values)


def test_the_lab_refuses_a_numbering_that_lacks_an_image_or_has_one_twice() -> None:
    first, files = files_of(ge.by_phase)
    with pytest.raises(SeriesChanged, match="not numbered in 10 phases"):
        read(first, files[1:], ["1:10", "2:10"])
    first, files = files_of(lambda phase, at: 7 if (phase, at) == (0, 7) else 15 * phase + at + 1)
    with pytest.raises(SeriesChanged, match="not numbered in 10 phases"):
        read(first, files, ["1:10", "2:10"])


def test_a_lab_that_does_not_know_numbering_finds_no_image_and_says_so() -> None:
    """It compares the keyword's value with that of each image: all were refused, none mixed up."""
    _, files = files_of(ge.by_phase)
    for data in files:
        ds = read_file(data, stop_before_pixels=True)
        assert not any(series._selected(ds, ("InstanceNumber", f"{n}:10")) for n in range(1, 11))


def test_a_numbered_phase_is_chosen_by_hand_with_its_doubt() -> None:
    archive = manual.Archive(Layout("one series", (ge.numbered(ge.by_place),)))
    examined = examine(cast("Images", archive), "dyn", {"InstanceNumber"})
    said = parse_phase_options(
        f"{role}=InstanceNumber:{n}:10" for role, n in zip(DCE_ROLES, (2, 3, 5, 9), strict=True)
    )
    chosen = choose([examined], DCE_ROLES, said)

    assert [one.value for one in chosen] == ["2:10", "3:10", "5:10", "9:10"]
    assert [line.split(" tells ")[1].split()[0] for line in concerns(chosen)] == list(DCE_ROLES)
    with pytest.raises(WrongPhaseCount):
        choose([examined], ("image",), parse_phase_options(["image=InstanceNumber:3:9"]))
    for text in ("pre=InstanceNumber:3", "pre=InstanceNumber:0:9", "pre=InstanceNumber:03:10"):
        with pytest.raises(CannotInfer, match="Nth of COUNT"):
            parse_phase_options([text])


def test_without_a_count_of_phases_the_engineer_may_still_name_them() -> None:
    archive = manual.Archive(Layout("one series", (ge.numbered(ge.by_phase, count=""),)))
    examined = examine(cast("Images", archive), "dyn", {"InstanceNumber"})
    said = parse_phase_options(
        [f"{role}=InstanceNumber:{n}:10" for n, role in enumerate(DCE_ROLES, 1)]
    )

    assert [one.value for one in choose([examined], DCE_ROLES, said)] == [
        f"{n}:10" for n in range(1, 5)
    ]


def test_the_order_of_numbered_phases_is_their_count() -> None:
    assert [count_of("InstanceNumber", f"{n}:10") for n in (2, 10)] == [2.0, 10.0]
    assert count_of("InstanceNumber", "7") is None
    assert count_of("AcquisitionTime", "101500") is None
    phases = [
        PhaseFacts("InstanceNumber", f"{n}:10", 36_900.0, 15, dated_at_s=36_900.0) for n in (9, 10)
    ]
    roles = ("pre", "post1")
    faults = [one.fault for one in check_choice(phases, roles, ("a", "a"))]
    assert faults.count(Fault.ONLY_NUMBERED) == 2
    assert Fault.OUT_OF_ORDER not in faults
    turned = [one.fault for one in check_choice(phases[::-1], roles, ("a", "a"))]
    assert Fault.OUT_OF_ORDER in turned


@given(
    phases=st.integers(2, 6),
    slices=st.integers(1, 6),
    slice_by_slice=st.booleans(),
    lost=st.integers(0, 40),
    seed=st.randoms(use_true_random=False),
)
def test_whatever_the_order_the_groups_are_the_phases_and_with_a_gap_there_are_none(
    phases: int, slices: int, slice_by_slice: bool, lost: int, seed: random.Random
) -> None:
    images = [
        (
            phase,
            (0.0, 0.0, 2.0 * at),
            lost - 3 + (phases * at + phase if slice_by_slice else slices * phase + at),
        )
        for phase in range(phases)
        for at in range(slices)
    ]
    seed.shuffle(images)
    groups = numbered([at for _, at, _ in images], [number for *_, number in images])
    assert [{images[i][0] for i in group} for group in groups] == [{n} for n in range(phases)]
    assert sorted(i for group in groups for i in group) == list(range(len(images)))
    for n in range(1, phases + 1):
        value = number_value(n, phases)
        assert place_of(value) == (n, phases)
        PhaseSelector(keyword="InstanceNumber", value=value)

    del images[lost % len(images)]
    torso = numbered([at for _, at, _ in images], [number for *_, number in images])
    assert torso == () or slices == 1


def test_what_other_keywords_tell_apart_is_not_told_by_number() -> None:
    images = [
        ImageFacts((0.0, 0.0, float(at)), {"AcquisitionNumber": str(phase)})
        for phase in range(2)
        for at in range(3)
    ]
    parts = parts_of(images)
    assert or_numbered(parts, images, range(6), ("2",)) == parts
