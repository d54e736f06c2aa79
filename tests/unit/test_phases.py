"""Which series is which phase."""

from __future__ import annotations

from messages.phases import DCE_ROLES, LeftOut, Problem, SeriesFacts, propose


def series(name: str, time: float | None, **changes: object) -> SeriesFacts:
    facts = {
        "series_id": name,
        "modality": "MR",
        "description": f"DCE {name}",
        "acquired_at_s": time,
        "instance_count": 80,
    }
    return SeriesFacts(**{**facts, **changes})  # type: ignore[arg-type]


FOUR = [series("a", 0.0), series("b", 90.0), series("c", 180.0), series("d", 400.0)]


def roles(proposal: object) -> dict[str, str]:
    return {choice.role: choice.series_id for choice in proposal.choices}  # type: ignore[attr-defined]


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
        series("loc", 1.0, description="Localizer", instance_count=3),
        series("sub", 2.0, description="SUB post1-pre"),
        series("seg", 3.0, modality="SEG", instance_count=1),
        series("short", 4.0, instance_count=20),
        series("mip", 5.0, image_type=("DERIVED", "SECONDARY", "MIP")),
        series("when", None),
    ]
    proposal = propose([*FOUR, *others])
    assert roles(proposal) == dict(zip(DCE_ROLES, "abcd", strict=True))
    assert proposal.left_out == {
        "loc": LeftOut.NOT_DYNAMIC,
        "sub": LeftOut.NOT_DYNAMIC,
        "seg": LeftOut.NOT_MR,
        "short": LeftOut.OTHER_SLICE_COUNT,
        "mip": LeftOut.NOT_DYNAMIC,
        "when": LeftOut.NO_TIME,
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
