"""A phase is one acquisition: which slices do not agree, and which patterns scanners make."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages.phases.agreement import Difference, differences
from tests.layouts.every import LAYOUTS
from tests.layouts.tags import Tags, times

SLICES = 12
MAGNITUDE = "ORIGINAL\\PRIMARY\\M_FFE\\M\\FFE"
PHASE_MAP = "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE"

#: Second of the day at which the phases of the runs here begin.
STARTS = (36_000.0, 36_090.0, 36_180.0, 36_360.0)


def tm(seconds: float) -> str:
    """A TM of the seconds after midnight."""
    return next(times("000000", 1, 0.0)) if seconds == 0 else list(times("000000", 2, seconds))[1]


def phase(
    start: float,
    *,
    slices: int = SLICES,
    after: Callable[[int], float] = lambda _: 0.0,
    **tags: str,
) -> list[Tags]:
    """The slices of a phase; `after` says how many seconds after its start each was acquired."""
    return [
        {
            "ImageType": MAGNITUDE,
            "EchoTime": "2.1",
            "EchoNumbers": "1",
            "AcquisitionDate": "20260302",
            "AcquisitionTime": tm(start + after(n)),
            **tags,
        }
        for n in range(slices)
    ]


def run(**how: object) -> list[list[Tags]]:
    """Four phases of one scan."""
    return [phase(start, **how) for start in STARTS]  # type: ignore[arg-type]


def counted(phases: Sequence[list[Tags]], keyword: str) -> list[list[Tags]]:
    """The same, with an attribute that counts the phases from 1."""
    return [[{**one, keyword: str(n)} for one in slices] for n, slices in enumerate(phases, 1)]


def odd_first(n: int) -> float:
    """Interleaved: every second slice first, a second each."""
    return n // 2 if n % 2 == 0 else 6 + n // 2


PATTERNS: dict[str, Callable[[int], float]] = {
    "one time": lambda _: 0.0,
    "a time each": lambda n: 2.5 * n,
    "a time each, from the last to the first": lambda n: 2.5 * (SLICES - n),
    "interleaved": odd_first,
    "two packages that interleave": lambda n: 20.0 * (n % 2),
    "three packages that interleave": lambda n: 20.0 * (n % 3),
    "two packages in two blocks, a time each": lambda n: 1.5 * n + (3.0 if n >= 6 else 0.0),
    "three slabs": lambda n: 25.0 * (n // 4),
}


@pytest.mark.parametrize("after", PATTERNS.values(), ids=PATTERNS)
def test_what_scanners_write_agrees_for_one_phase_and_for_four(
    after: Callable[[int], float],
) -> None:
    phases = run(after=after)
    assert differences(phases) == ()
    assert all(differences([one]) == () for one in phases)


def test_two_blocks_with_one_time_each_are_a_scan_where_all_phases_have_them() -> None:
    assert differences(run(after=lambda n: 30.0 * (n >= 6))) == ()


def test_two_blocks_of_one_phase_are_its_packages_where_nothing_else_differs() -> None:
    one = phase(STARTS[0], after=lambda n: 20.0 * (n >= 6))
    assert differences([one]) == ()
    for place, slice_ in enumerate(one):
        slice_["AcquisitionNumber"] = str(1 + (place >= 6))
    assert differences([one]) == (Difference(0, "AcquisitionNumber", 7),)


@pytest.mark.parametrize(
    "after",
    [
        # Longer than a breath-hold and a rest: the next phase.
        lambda n: 90.0 * (n >= 6),
        # No package has two slices of twelve, or some from here and there.
        lambda n: 20.0 * (n >= 10),
        lambda n: 20.0 * (n in {6, 7, 10, 11}),
    ],
)
def test_what_no_package_of_one_phase_can_be_is_refused(after: Callable[[int], float]) -> None:
    (one,) = differences([phase(STARTS[0], after=after)])
    assert one.keyword == "AcquisitionTime"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_the_phases_of_every_layout_agree(layout) -> None:
    by_id = {series.series_id: series for series in layout.series}
    chosen = [
        [
            {**by_id[series].tags, **image}
            for image in by_id[series].images
            if not keyword or image.get(keyword) == value
        ]
        for series, keyword, value in layout.phases
    ]
    assert differences(chosen) == ()
    assert all(differences([one]) == () for one in chosen)


@pytest.mark.parametrize(
    ("keyword", "foreign"),
    [
        ("ImageType", PHASE_MAP),
        ("ImageType", MAGNITUDE + "\\SUB"),
        ("ImageType", "DERIVED\\PRIMARY\\M_FFE\\M\\FFE"),
        ("EchoTime", "4.8"),
        ("EchoNumbers", "2"),
        ("DiffusionBValue", "800"),
        ("ComplexImageComponent", "PHASE"),
        ("FlipAngle", "25"),
        ("SequenceName", "*fl2d1"),
        ("ScanOptions", "FS"),
        ("TemporalPositionIdentifier", "3"),
        ("TemporalPositionIndex", "3"),
        ("AcquisitionNumber", "3"),
        ("AcquisitionTime", "101500"),
        ("TriggerTime", "90000"),
    ],
)
@pytest.mark.parametrize("phases", [1, 4])
def test_slices_that_differ_are_named_by_attribute_and_first_slice(
    keyword: str, foreign: str, phases: int
) -> None:
    usual = {
        "DiffusionBValue": "0",
        "ComplexImageComponent": "MAGNITUDE",
        "FlipAngle": "10",
        "SequenceName": "*fl3d1",
        "ScanOptions": "PFP",
        "TemporalPositionIdentifier": "2",
        "TemporalPositionIndex": "2",
        "AcquisitionNumber": "2",
        "TriggerTime": "0",
    }
    chosen = run(**usual)[:phases]
    mixed = phases - 1
    for place in (8, 4, 7):
        chosen[mixed][place][keyword] = foreign
    assert differences(chosen) == (Difference(mixed, keyword, 5),)


def test_the_minority_differs_also_where_it_comes_first() -> None:
    one = phase(STARTS[0])
    one[0]["ImageType"] = one[1]["ImageType"] = PHASE_MAP
    assert differences([one]) == (Difference(0, "ImageType", 1),)


@pytest.mark.parametrize("after", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("source", ["next", "before", "not chosen", "last"])
def test_half_of_a_phase_from_another_one_is_seen_by_its_times(
    after: Callable[[int], float], source: str
) -> None:
    chosen = run(after=after)
    others = {
        "next": chosen[2],
        "before": chosen[0],
        "not chosen": phase(36_270.0, after=after),
        "last": chosen[3],
    }
    chosen[1] = chosen[1][: SLICES // 2] + others[source][SLICES // 2 :]
    (one,) = differences(chosen)
    assert (one.phase, one.keyword) == (1, "AcquisitionTime")


def test_every_second_slice_from_the_next_phase_is_seen_where_there_are_others() -> None:
    chosen = run()
    chosen[1] = [chosen[2 if n % 2 else 1][n] for n in range(SLICES)]
    assert differences(chosen) == (Difference(1, "AcquisitionTime", 2),)


def test_a_run_without_a_gap_between_its_sweeps_still_shows_a_foreign_half() -> None:
    # Each phase takes 18 s, and the next one follows at once.
    chosen = [phase(36_000.0 + 18 * n, after=lambda n: 1.5 * odd_first(n)) for n in range(4)]
    assert differences(chosen) == ()
    chosen[1] = chosen[1][:6] + chosen[2][6:]
    (one,) = differences(chosen)
    assert (one.phase, one.keyword) == (1, "AcquisitionTime")


@pytest.mark.parametrize("after", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("roles", [2, 4])
def test_every_second_slice_from_a_phase_of_its_own_times_is_seen(
    after: Callable[[int], float], roles: int
) -> None:
    chosen = run(after=after)[:roles]
    other = phase(36_270.0, after=after)
    chosen[1] = [other[n] if n % 2 else chosen[1][n] for n in range(SLICES)]
    if roles == 2 and after is PATTERNS["one time"]:
        # Nothing tells them from packages.
        assert differences(chosen) == ()
        return
    found = differences(chosen)
    # Of two patterns that differ neither is the usual one.
    assert 1 in {one.phase for one in found}
    assert {one.keyword for one in found} == {"AcquisitionTime"}


@pytest.mark.parametrize("after", PATTERNS.values(), ids=PATTERNS)
def test_phases_that_exchanged_their_halves_are_seen(
    after: Callable[[int], float],
) -> None:
    chosen = run(after=after)
    chosen[1], chosen[2] = chosen[1][:6] + chosen[2][6:], chosen[2][:6] + chosen[1][6:]
    found = [one.phase for one in differences(chosen)]
    assert found
    assert set(found) <= {1, 2}


def test_phases_that_all_hold_the_end_of_the_next_one_are_seen() -> None:
    five = [phase(start) for start in (*STARTS, 36_450.0)]
    chosen = [one[:6] + later[6:] for one, later in pairwise(five)]
    assert {one.phase for one in differences(chosen)} == {0, 1, 2, 3}
    numbered = counted([phase(36_000.0) for _ in range(5)], "AcquisitionNumber")
    chosen = [one[:6] + later[6:] for one, later in pairwise(numbered)]
    assert {one.keyword for one in differences(chosen)} == {"AcquisitionNumber"}


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_half_of_a_phase_from_the_next_one_is_seen_by_its_number(keyword: str) -> None:
    chosen = counted([phase(36_000.0) for _ in range(4)], keyword)
    assert differences(chosen) == ()
    chosen[1] = chosen[1][:6] + chosen[2][6:]
    assert differences(chosen) == (Difference(1, keyword, 7),)


def numbers(*, packages: Callable[[int], int]) -> list[list[Tags]]:
    """Four phases of which each counts its packages from 1."""
    return [
        [{**one, "AcquisitionNumber": str(packages(n) + 1)} for n, one in enumerate(slices)]
        for slices in run(after=lambda n: 2.0 * n)
    ]


@pytest.mark.parametrize(
    "packages", [lambda n: n, lambda n: n % 2, lambda n: n % 3, lambda n: n // 6], ids=range(4)
)
def test_numbers_of_slices_and_of_packages_agree(packages: Callable[[int], int]) -> None:
    chosen = numbers(packages=packages)
    assert differences(chosen) == ()
    # The times show that the two blocks were one acquisition.
    assert all(differences([one]) == () for one in chosen)


def test_midnight_inside_a_phase_with_its_dates_and_without() -> None:
    dated = [phase(86_380.0 - 90 * n, after=lambda n: 5.0 * n) for n in (3, 2, 1, 0)]
    for one in dated[3]:
        one["AcquisitionDate"] = "20260303" if one["AcquisitionTime"] < "12" else "20260302"
    assert {one["AcquisitionDate"] for one in dated[3]} == {"20260302", "20260303"}
    assert differences(dated) == ()
    undated = [[{**one, "AcquisitionDate": ""} for one in slices] for slices in dated]
    assert differences(undated) == ()


def test_what_is_not_stated_counts_as_equal() -> None:
    chosen = run()
    for one in chosen[1][::2]:
        for keyword in ("ImageType", "EchoTime", "AcquisitionTime"):
            del one[keyword]
    assert differences(chosen) == ()
    assert differences([[{}, {}], [{}, {}]]) == ()
    assert differences([]) == ()


@pytest.mark.parametrize(
    "other",
    [
        {"EchoTime": "2.10"},
        {"EchoTime": "2.1001"},
        {"EchoNumbers": "1 "},
        {"ImageType": "original\\SECONDARY\\M_FFE\\M\\FFE"},
        {"ImageType": MAGNITUDE + "\\"},
        # Where a slice does not say what it shows, it is not another kind.
        {"ImageType": "ORIGINAL\\PRIMARY"},
        {"ComplexImageComponent": "MIXED"},
        {"FlipAngle": "10.04"},
        {"ScanOptions": "SFS\\PFP"},
    ],
)
def test_one_value_written_in_two_ways_is_one(other: Tags) -> None:
    chosen = run(ComplexImageComponent="MAGNITUDE", FlipAngle="10", ScanOptions="PFP\\SFS")
    chosen[2][3].update(other)
    assert differences(chosen) == ()


@pytest.mark.parametrize(
    "text", ["nan", "1e999", "-", "\\\\\\", "x" * 5000, "١٢", "2026", "99:99:99", "-inf"]
)
def test_values_that_are_none_raise_nothing(text: str) -> None:
    chosen = run(TriggerTime=text, AcquisitionNumber=text)
    for keyword in chosen[1][2]:
        chosen[1][2][keyword] = text
    differences(chosen)


@st.composite
def patterns(draw: st.DrawFn) -> list[list[Tags]]:
    """Phases of one scan in one of the patterns that scanners make, with its numbers."""
    step = draw(st.sampled_from([0.0, 0.02, 0.1, 1.0, 2.7]))
    packages = draw(st.integers(1, 4))
    slices = draw(st.integers(max(3, 2 * packages), 40))
    count = draw(st.integers(1, 5))
    # Two blocks with one time each are a scan where other phases have them too.
    blocks = draw(st.booleans()) and (step >= 1 or count > 1)
    backwards = draw(st.booleans())
    per = -(-slices // packages)
    took = per * step

    def after(n: int) -> float:
        n = slices - 1 - n if backwards else n
        package, place = (n // per, n % per) if blocks else (n % packages, n // packages)
        # Packages with one time each interleave; a pause is shorter than what one of them takes.
        return place * step + package * (took + pause)

    pause = draw(st.floats(0, 0.4)) * took
    if not blocks and step == 0.0:
        pause = draw(st.floats(0, 60))
    total = max(after(n) for n in range(slices)) + step
    gap = draw(st.floats(40, 200))
    number = draw(st.sampled_from(["", "phase", "slice", "package", "one"]))
    start = draw(st.floats(30_000, 70_000))
    made = []
    for turn in range(count):
        slices_of = phase(start + turn * (total + gap), slices=slices, after=after)
        for n, one in enumerate(slices_of):
            at = n if not backwards else slices - 1 - n
            package = at // per if blocks else at % packages
            said = {"phase": turn, "slice": n, "package": package, "one": 1}
            if number:
                one["AcquisitionNumber"] = str(said[number] + 1)
        made.append(slices_of)
    return made


@settings(max_examples=200)
@given(patterns())
def test_a_phase_in_a_pattern_that_scanners_make_is_never_refused(made: list[list[Tags]]) -> None:
    assert differences(made) == ()


@pytest.mark.parametrize("roles", [1, 4])
@pytest.mark.parametrize("packages", [lambda n: n, lambda n: n % 2, lambda n: n % 3], ids=range(3))
def test_a_slice_without_a_number_or_a_time_is_no_other(
    packages: Callable[[int], int], roles: int
) -> None:
    chosen = [
        phase(start, after=lambda n: 20.0 * packages(n), DiffusionBValue="0")
        for start in STARTS[:roles]
    ]
    for slices in chosen:
        for n, one in enumerate(slices):
            one["AcquisitionNumber"] = str(packages(n) + 1)
    for place, keyword in (
        (5, "AcquisitionNumber"),
        (0, "AcquisitionTime"),
        (7, "AcquisitionDate"),
    ):
        del chosen[-1][place][keyword]
    assert differences(chosen) == ()


def test_a_first_phase_in_one_piece_and_another_one_in_packages_agree() -> None:
    pre = phase(STARTS[0], AcquisitionNumber="1")
    post = phase(STARTS[1], after=lambda n: 20.0 * (n % 2))
    for first in (1, 2):
        for n, one in enumerate(post):
            one["AcquisitionNumber"] = str(first + n % 2)
        assert differences([pre, post]) == ()


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "AcquisitionTime"])
def test_every_second_slice_from_the_first_phase_is_seen_where_there_are_two(keyword: str) -> None:
    texts = {"AcquisitionNumber": ("1", "2"), "AcquisitionTime": ("100000", "100130")}[keyword]
    pre, post = (phase(36_000.0, **{keyword: text}) for text in texts)
    chosen = [pre, [pre[n] if n % 2 else post[n] for n in range(SLICES)]]
    assert differences(chosen) == (Difference(1, keyword, 2),)


@pytest.mark.parametrize("roles", [1, 2, 4])
def test_numbers_of_the_shots_of_simultaneous_slices_agree(roles: int) -> None:
    chosen = [phase(start, slices=40) for start in STARTS[:roles]]
    for slices in chosen:
        for n, one in enumerate(slices):
            one["AcquisitionNumber"] = str(n % 20 + 1)
    assert differences(chosen) == ()
    chosen = [[{**one, "AcquisitionTime": "100000"} for one in slices] for slices in chosen]
    assert differences(chosen) == ()


def test_two_slices_of_another_acquisition_are_no_shot() -> None:
    slices = phase(36_000.0, slices=40, AcquisitionNumber="1")
    slices[2]["AcquisitionNumber"] = slices[22]["AcquisitionNumber"] = "2"
    assert differences([slices]) == (Difference(0, "AcquisitionNumber", 3),)


@pytest.mark.parametrize("after", PATTERNS.values(), ids=PATTERNS)
def test_a_phase_swept_from_the_other_end_agrees(after: Callable[[int], float]) -> None:
    chosen = run(after=after)
    chosen[0] = phase(STARTS[0], after=lambda n: after(SLICES - 1 - n))
    assert differences(chosen) == ()


def test_halves_that_differ_in_their_content_time_alone_are_seen() -> None:
    chosen = [
        phase(36_000.0, ContentTime=text) for text in ("101500", "101630", "101800", "101930")
    ]
    assert differences(chosen) == ()
    chosen[1] = chosen[1][:6] + chosen[2][6:]
    assert differences(chosen) == (Difference(1, "ContentTime", 7),)


def test_content_times_of_the_reconstruction_tell_nothing() -> None:
    # A time each, two of no other phase, or the second in which two phases were written.
    chosen = run()
    for place, texts in enumerate((("1", "2"), ("3", "4"), ("1", "4"), ("5", "6"))):
        for n, one in enumerate(chosen[place]):
            one["ContentTime"] = f"10150{texts[n % 2]}"
    assert differences(chosen) == ()
    for one in chosen[1]:
        one["ContentTime"] = "101502"
    assert differences(chosen) == ()


def test_twelve_thousand_slices_with_a_number_each_are_compared_in_no_time() -> None:
    count = 3000
    chosen = [
        [
            {"AcquisitionNumber": str(turn * count + n), "EchoTime": f"{2 + n / 1e6}"}
            for n in range(count)
        ]
        for turn in range(4)
    ]
    began = time.process_time()
    assert differences(chosen) == ()
    # The pairs of them took 16 s.
    assert time.process_time() - began < 1.5
