"""Which phase of which series plays which role, or why none is proposed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from messages.phases import (
    DCE_ROLES,
    GridFacts,
    LeftOut,
    PhaseFacts,
    Problem,
    SeriesFacts,
    Unclear,
    propose,
)

AXIAL = GridFacts(
    rows=448,
    columns=448,
    slices=80,
    orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    pixel_spacing=(0.8, 0.8),
    first=(-180.0, -180.0, -90.0),
    last=(-180.0, -180.0, 68.0),
    frame_of_reference_uid="1.2.3",
)


def series(name: str, time: float | None, **changes: object) -> SeriesFacts:
    count = changes.pop("count", 80)
    grid = changes.pop("grid", None)
    facts = {
        "series_id": name,
        "modality": "MR",
        "description": f"DCE {name}",
        "instance_count": count,
        "phases": (PhaseFacts(acquired_at_s=time, image_count=count, grid=grid),),
    }
    return SeriesFacts(**{**facts, **changes})  # type: ignore[arg-type]


def run(name: str, times: list[float | None], **changes: object) -> SeriesFacts:
    """One series with a phase at each of the times."""
    keyword = str(changes.pop("keyword", "AcquisitionNumber"))
    phases = tuple(
        PhaseFacts(keyword, str(n), time, 80, changes.get("grid"))  # type: ignore[arg-type]
        for n, time in enumerate(times, 1)
    )
    changes.pop("grid", None)
    return series(name, None, phases=phases, instance_count=80 * len(times), **changes)


FOUR = [series("a", 0.0), series("b", 90.0), series("c", 180.0), series("d", 400.0)]


def roles(proposal: object) -> dict[str, str]:
    return {choice.role: choice.series_id for choice in proposal.choices}  # type: ignore[attr-defined]


def parts(proposal: object) -> list[tuple[str, str]]:
    return [(c.series_id, c.value) for c in proposal.choices]  # type: ignore[attr-defined]


def test_four_series_fill_the_roles_in_time_order_whatever_their_order() -> None:
    proposal = propose(list(reversed(FOUR)))
    assert roles(proposal) == dict(zip(DCE_ROLES, "abcd", strict=True))
    assert [c.seconds_after_first for c in proposal.choices] == [0.0, 90.0, 180.0, 400.0]
    assert proposal.problem is None


def test_of_six_phases_the_first_three_and_the_last_are_taken() -> None:
    six = [series(name, 60.0 * i) for i, name in enumerate("abcdef")]
    proposal = propose(six)
    assert roles(proposal) == {"pre": "a", "post1": "b", "post2": "c", "last": "f"}
    assert proposal.left_out == {"d": LeftOut.BETWEEN, "e": LeftOut.BETWEEN}


def test_what_is_no_dynamic_phase_is_left_out_with_its_reason() -> None:
    others = [
        series("loc", 1.0, description="Localizer", count=3),
        series("sub", 2.0, description="SUB post1-pre"),
        series("seg", 3.0, modality="SEG", count=1, phases=()),
        series("short", 4.0, count=20, description="T1 fine"),
        series("mip", 5.0, image_type=("DERIVED", "SECONDARY", "MIP")),
    ]
    proposal = propose([*FOUR, *others])
    assert roles(proposal) == dict(zip(DCE_ROLES, "abcd", strict=True))
    assert proposal.left_out == {
        "loc": LeftOut.LOCALIZER,
        "sub": LeftOut.SUBTRACTION,
        "seg": LeftOut.NOT_MR,
        "short": LeftOut.OTHER_SLICE_COUNT,
        "mip": LeftOut.PROJECTION,
    }


def test_three_phases_are_too_few_for_four_roles_and_nothing_is_guessed() -> None:
    proposal = propose(FOUR[:3])
    assert proposal.choices == ()
    assert proposal.problem is Problem.TOO_FEW


def test_two_phases_of_the_same_time_are_said_and_not_guessed() -> None:
    proposal = propose([*FOUR[:3], series("d", 180.0)])
    assert proposal.problem is Problem.SAME_TIME


def test_phases_past_midnight_keep_their_order_and_without_their_dates_it_is_said() -> None:
    day = 86_400.0
    times = {"a": day - 90, "b": day, "c": day + 90, "d": day + 360}
    assert roles(propose([series(n, t) for n, t in times.items()])) == dict(
        zip(DCE_ROLES, "abcd", strict=True)
    )
    without_dates = [series(n, t % day) for n, t in times.items()]
    proposal = propose(without_dates)
    assert proposal.choices == ()
    assert proposal.problem is Problem.IMPLAUSIBLE_TIME


def test_a_one_phase_model_takes_the_only_series() -> None:
    assert roles(propose([series("a", 5.0)], roles=("image",))) == {"image": "a"}


def test_an_empty_study_is_too_few() -> None:
    assert propose([]).problem is Problem.TOO_FEW


def test_one_series_of_all_phases_fills_the_roles_with_its_parts() -> None:
    proposal = propose([run("dyn", [0.0, 90.0, 180.0, 270.0, 360.0])])
    assert parts(proposal) == [("dyn", "1"), ("dyn", "2"), ("dyn", "3"), ("dyn", "5")]
    assert {c.keyword for c in proposal.choices} == {"AcquisitionNumber"}
    assert [(c.place, c.of, c.seconds_after_first) for c in proposal.choices] == [
        (1, 5, 0.0),
        (2, 5, 90.0),
        (3, 5, 180.0),
        (5, 5, 360.0),
    ]
    assert proposal.left_out == {}


def test_a_series_before_the_contrast_and_one_of_the_phases_after_it_are_put_together() -> None:
    study = [run("post", [100.0, 190.0, 280.0], description="Ax post"), series("pre", 0.0)]
    proposal = propose(study)
    assert parts(proposal) == [("pre", ""), ("post", "1"), ("post", "2"), ("post", "3")]


def test_three_series_of_several_phases_each_are_put_in_time_order() -> None:
    study = [run("c", [500.0, 600.0]), run("a", [0.0]), run("b", [100.0, 200.0])]
    assert parts(propose(study)) == [("a", "1"), ("b", "1"), ("b", "2"), ("c", "2")]


@pytest.mark.parametrize("time", [None, 36_000.0])
def test_one_series_keeps_the_order_of_its_phases_where_it_says_no_time_of_each(time) -> None:
    proposal = propose([run("dyn", [time] * 8)])
    assert [c.value for c in proposal.choices] == ["1", "2", "3", "8"]
    assert [c.seconds_after_first for c in proposal.choices] == [None] * 4


def test_a_series_with_one_time_for_its_phases_comes_before_what_began_later() -> None:
    study = [series("late", 600.0), run("post", [100.0] * 3), series("pre", 0.0)]
    proposal = propose(study)
    assert parts(proposal) == [("pre", ""), ("post", "1"), ("post", "2"), ("late", "")]
    assert [c.seconds_after_first for c in proposal.choices] == [0.0, None, None, 600.0]


def test_phases_without_a_time_have_no_place_beside_another_series() -> None:
    proposal = propose([*FOUR, run("x", [None, None])])
    assert proposal.choices == ()
    assert proposal.problem is Problem.PHASE_LEFT_OUT
    assert proposal.left_out == {"x": LeftOut.NO_TIME}


def test_a_derived_copy_of_a_phase_that_is_missing_is_said() -> None:
    copy = series("x", -90.0, description="DCE a", image_type=("DERIVED", "SECONDARY"))
    four = [replace(item, image_type=("ORIGINAL", "PRIMARY")) for item in FOUR]
    assert propose([copy, *four]).problem is Problem.PHASE_LEFT_OUT
    # What was computed of a phase has its time.
    of_one = replace(copy, phases=four[0].phases)
    assert roles(propose([of_one, *four])) == dict(zip(DCE_ROLES, "abcd", strict=True))


def test_a_late_phase_of_its_own_that_says_so_is_the_last() -> None:
    complete = run("dyn", [0.0, 90.0, 180.0, 270.0], description="t1_dyn")
    late = series("x", 600.0, description="t1 fs delayed")
    assert propose([complete, late]).choices[3].series_id == "x"


def test_phases_on_another_grid_take_no_part() -> None:
    moved = replace(AXIAL, first=(-180.0, -180.0, -80.0), last=(-180.0, -180.0, 78.0))
    four = [series(s.series_id, s.phases[0].acquired_at_s, grid=AXIAL) for s in FOUR]
    proposal = propose([series("x", -60.0, grid=moved), *four])
    assert roles(proposal) == dict(zip(DCE_ROLES, "abcd", strict=True))
    assert proposal.left_out == {"x": LeftOut.OTHER_GRID}


def test_slices_counted_from_the_other_end_are_the_same_grid() -> None:
    turned = replace(AXIAL, first=AXIAL.last, last=AXIAL.first)
    grids = [AXIAL, turned, AXIAL, turned]
    four = [
        series(s.series_id, 90.0 * n, grid=g)
        for n, (s, g) in enumerate(zip(FOUR, grids, strict=True))
    ]
    assert len(propose(four).choices) == 4


def test_enough_phases_on_unequal_grids_are_said() -> None:
    wide = replace(AXIAL, pixel_spacing=(0.9, 0.9))
    grids = [wide, AXIAL, AXIAL, AXIAL]
    four = [
        series(s.series_id, 90.0 * n, grid=g)
        for n, (s, g) in enumerate(zip(FOUR, grids, strict=True))
    ]
    proposal = propose(four)
    assert proposal.choices == ()
    assert proposal.problem is Problem.UNEQUAL_GRIDS
    assert proposal.left_out == {"a": LeftOut.OTHER_GRID}


def test_two_groups_of_dynamic_phases_are_said_and_none_is_preferred() -> None:
    other = [series(f"x{n}", 600.0 + 90 * n, count=120) for n in range(6)]
    assert propose([*FOUR, *other]).problem is Problem.SEVERAL_GRIDS


def test_a_series_whose_phases_cannot_be_told_apart_is_said() -> None:
    mixed = series("x", None, phases=(), unclear=Unclear.NOT_SEPARABLE, instance_count=320)
    for study in ([mixed], [*FOUR, mixed]):
        proposal = propose(study)
        assert proposal.choices == ()
        assert proposal.problem is Problem.UNCLEAR_PARTS
        assert proposal.left_out == {"x": LeftOut.UNCLEAR}


def test_an_unclear_series_too_small_for_a_phase_or_no_dynamic_one_is_no_problem() -> None:
    small = series("x", None, phases=(), unclear=Unclear.NOT_SEPARABLE, instance_count=30)
    diffusion = replace(small, series_id="y", description="ep2d_diff", instance_count=320)
    proposal = propose([*FOUR, small, diffusion])
    assert len(proposal.choices) == 4
    assert proposal.left_out == {"x": LeftOut.UNCLEAR, "y": LeftOut.DIFFUSION}


def test_an_unclear_multi_frame_object_counts_by_its_frames() -> None:
    frames = series(
        "x", None, phases=(), unclear=Unclear.INCOMPLETE_PHASE, count=1, image_count=319
    )
    assert propose([*FOUR, frames]).problem is Problem.UNCLEAR_PARTS


def test_a_run_that_was_begun_again_is_said() -> None:
    names = ["pre", "post 1", "pre", "post 1", "post 2", "post 3"]
    study = [series(str(n), 90.0 * n, description=name) for n, name in enumerate(names)]
    assert propose(study).problem is Problem.REPEATED_RUN
    two = [run("a", [0.0, 90.0], description="DYN"), run("b", [500.0, 590.0], description="DYN")]
    assert propose(two).problem is Problem.REPEATED_RUN


def test_phases_that_share_one_description_are_one_run() -> None:
    study = [series(str(n), 90.0 * n, description="t1_fl3d_dyn") for n in range(5)]
    assert len(propose(study).choices) == 4


@pytest.mark.parametrize(
    "names", [("post 1", "post 2", "post 3", "post 4"), ("dyn 1", "pre", "dyn 2", "dyn 3")]
)
def test_names_that_contradict_the_times_are_said(names) -> None:
    study = [series(name, 90.0 * n, description=name) for n, name in enumerate(names)]
    assert propose(study).problem is Problem.NAMES_DISAGREE


def test_an_ultrafast_scan_has_no_four_phases_to_propose() -> None:
    assert propose([run("twist", [4.2 * n for n in range(30)])]).problem is Problem.TOO_CLOSE


@pytest.mark.parametrize(
    ("phases", "scan", "problem"),
    [
        (40, {}, Problem.TOO_CLOSE),
        (9, {}, Problem.TOO_CLOSE),
        (6, {"NumberOfTemporalPositions": "40"}, Problem.TOO_CLOSE),
        (6, {"TemporalResolution": "4200"}, Problem.TOO_CLOSE),
        (12, {"TemporalResolution": "60000"}, None),
        (
            12,
            {"TemporalResolution": "nan", "NumberOfTemporalPositions": "1e999"},
            Problem.TOO_CLOSE,
        ),
    ],
)
def test_many_phases_without_times_may_be_an_ultrafast_scan(phases, scan, problem) -> None:
    for time in (None, 36_000.0):
        study = [run("dyn", [time] * phases, keyword="TemporalPositionIdentifier", scan=scan)]
        assert propose(study).problem is problem


def test_phases_of_half_a_minute_are_too_close_to_take_the_first_for_pre() -> None:
    assert propose([run("dyn", [30.0 * n for n in range(8)])]).problem is Problem.TOO_CLOSE
    assert propose([run("dyn", [40.0 * n for n in range(8)])]).problem is None


def test_a_series_that_counts_against_its_times_is_said() -> None:
    study = [run("dyn", [120.0, 180.0, 0.0, 240.0, 300.0])]
    assert propose(study).problem is Problem.COUNT_DISAGREES


def test_what_is_derived_among_originals_of_its_grid_and_contrast_takes_no_part() -> None:
    originals = [replace(item, image_type=("ORIGINAL", "PRIMARY", "M")) for item in FOUR]
    derived = series("x", 90.0, image_type=("DERIVED", "PRIMARY", "M"))
    proposal = propose([derived, *originals])
    assert roles(proposal) == dict(zip(DCE_ROLES, "abcd", strict=True))
    assert proposal.left_out == {"x": LeftOut.DERIVED}
    three = propose([derived, *originals[:3]])
    assert (three.problem, three.left_out) == (Problem.TOO_FEW, {"x": LeftOut.DERIVED})


def test_a_run_that_is_derived_as_a_whole_is_taken() -> None:
    derived = [replace(item, image_type=("DERIVED", "PRIMARY", "M")) for item in FOUR]
    assert len(propose(derived).choices) == 4


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("dyn 2", "dyn 3", "dyn 4", "dyn 5"), Problem.NO_PRE),
        (("dyn 30", "dyn 90", "dyn 150", "dyn 210"), Problem.NO_PRE),
        (("dyn 601", "dyn 701", "dyn 801", "dyn 901"), None),
        (("dyn 0", "dyn 1", "dyn 2", "dyn 3"), None),
        (("T1 post 1 min", "T1 60 s", "T1 2 min", "T1 5 min"), Problem.NAMES_DISAGREE),
        (("T1 30s", "T1 1 min", "T1 2 min", "T1 5분"), Problem.NO_PRE),
        (("T1 pre 30s", "T1 30s", "T1 60s", "T1 90s"), None),
        (("dyn 60s",) * 4, None),
    ],
)
def test_a_run_named_from_after_the_injection_on_lacks_its_first_phase(names, problem) -> None:
    study = [series(str(n), 90.0 * n, description=name) for n, name in enumerate(names)]
    assert propose(study).problem is problem


def test_a_long_name_full_of_digits_counts_nothing() -> None:
    study = [series(str(n), 90.0 * n, description=f"{n} {'9' * 5000}") for n in range(4)]
    assert len(propose(study).choices) == 4


def test_of_a_dixon_scan_the_water_images_are_taken() -> None:
    study = [
        series(f"{n}{part}", 90.0 * n, description=f"t1_vibe_dixon_dyn_{part}")
        for n in range(4)
        for part in ("W", "F", "in", "opp")
    ]
    proposal = propose(study)
    assert [c.series_id for c in proposal.choices] == ["0W", "1W", "2W", "3W"]
    assert set(proposal.left_out.values()) == {LeftOut.DIXON_PART}


def test_a_one_phase_model_takes_one_of_several_phases_and_says_which() -> None:
    proposal = propose([run("dyn", [0.0, 90.0])], roles=("image",))
    assert parts(proposal) == [("dyn", "2")]


def test_a_one_phase_model_may_take_a_spin_echo_whose_name_says_nothing() -> None:
    spin_echo = series("a", 5.0, scan={"ScanningSequence": "SE", "EchoTime": "12"})
    assert roles(propose([spin_echo], roles=("image",))) == {"image": "a"}
    assert propose([spin_echo]).left_out == {"a": LeftOut.OTHER_WEIGHTING}


def test_a_one_phase_model_does_not_choose_between_two_series_of_different_grids() -> None:
    study = [series("a", 5.0), series("b", 300.0, count=40)]
    assert propose(study, roles=("image",)).problem is Problem.SEVERAL_GRIDS


def test_a_static_scan_on_the_grid_of_the_dynamic_one_is_told_by_its_contrast() -> None:
    fat_saturated = {"ScanOptions": "PFP\\SFS", "EchoTime": "1.6"}
    for static in ({"ScanOptions": "PFP"}, {"EchoTime": "2.4"}):
        four = [replace(item, scan=fat_saturated) for item in FOUR]
        proposal = propose([series("x", -90.0, scan=static), *four])
        assert roles(proposal) == dict(zip(DCE_ROLES, "abcd", strict=True))
        assert proposal.left_out == {"x": LeftOut.OTHER_CONTRAST}


def test_whether_a_series_of_its_own_is_the_phase_before_the_contrast_is_not_guessed() -> None:
    complete = run("dyn", [100.0, 190.0, 280.0, 370.0], description="t1_dyn")
    assert propose([series("x", 0.0, description="t1_fs"), complete]).problem is (
        Problem.UNCLEAR_START
    )
    same_name = propose([series("x", 0.0, description="t1_dyn"), complete])
    said = propose([series("x", 0.0, description="t1_fs_pre"), complete])
    needed = propose([series("x", 0.0, description="t1_fs"), run("dyn", [100.0, 190.0, 280.0])])
    for proposal in (same_name, said, needed):
        assert proposal.choices[0].series_id == "x"
