"""Each role comes with a series and a reason in the reader's language."""

from __future__ import annotations

import re

import pytest
from django.utils import translation

from messages.phases import DCE_ROLES, LeftOut, PhaseFacts, Problem, SeriesFacts, Unclear
from messages.phases.parts import PERHAPS_ONE_PHASE
from web.phases import proposal as module
from web.phases.candidates import candidates_of
from web.phases.phase_names import PhaseName
from web.phases.proposal import notice_text, proposal_for
from web.phases.studies import SeriesDetail


def series(name: str, time: float | None, count: int = 80, modality: str = "MR") -> SeriesDetail:
    phase = PhaseFacts(acquired_at_s=time, image_count=count)
    return detail(SeriesFacts(name, modality, name, count, phases=(phase,)))


def detail(facts: SeriesFacts) -> SeriesDetail:
    return SeriesDetail(series_uid="1.2", number=5, facts=facts, image_count=facts.instance_count)


def one_series(keyword: str = "TemporalPositionIdentifier") -> SeriesDetail:
    """Four phases in one series, 92 s apart."""
    phases = tuple(
        PhaseFacts(keyword, str(number), 37_000.0 + 92 * number, 80) for number in range(1, 5)
    )
    return detail(SeriesFacts("dce", "MR", "DCE", 320, phases=phases))


FOUR = [series("pre", 0.0), series("ph1", 92.0), series("ph2", 184.0), series("ph3", 540.0)]


def test_the_phases_are_proposed_in_time_order_with_their_reasons():
    with translation.override("en"):
        made = proposal_for([*reversed(FOUR), series("localizer", 1.0, 9)], DCE_ROLES)

    assert [str(item.phase) for item in made.roles] == ["pre", "ph1", "ph2", "ph3"]
    assert made.roles[0].reason == "No. 1 of 4 by acquisition time"
    assert made.roles[1].reason == "No. 2 of 4 by acquisition time, 92 s after the first"
    assert "localizer" in made.left_out
    assert made.problem == ""


def test_a_korean_reader_gets_korean_reasons():
    with translation.override("ko"):
        made = proposal_for(FOUR, DCE_ROLES)

    assert made.roles[1].label == "조영 후 1차"
    assert made.roles[1].reason == "촬영 시각순 4개 중 2번째, 첫 시기로부터 92초 후"


def test_too_few_series_leave_the_choice_to_the_reader():
    made = proposal_for(FOUR[:2], DCE_ROLES)

    assert [item.phase for item in made.roles] == [None] * 4
    assert made.problem


def test_a_one_phase_model_gets_one_series():
    with translation.override("en"):
        made = proposal_for(FOUR[:1], ("image",))

    assert made.roles[0].phase == PhaseName("pre")
    assert made.roles[0].reason == "The only series that fits"


def test_the_phases_of_one_series_are_proposed_by_what_tells_them_apart():
    with translation.override("en"):
        made = proposal_for([one_series()], DCE_ROLES)

    assert [str(item.phase) for item in made.roles] == [
        f"dce:TemporalPositionIdentifier:{number}" for number in range(1, 5)
    ]
    assert made.roles[1].reason == (
        "Phase 2 of 4 in this series by TemporalPositionIdentifier. "
        "No. 2 of 4 by acquisition time, 92 s after the first"
    )
    assert made.problem == ""


@pytest.mark.parametrize("why", Unclear)
def test_a_series_whose_phases_cannot_be_told_apart_says_why(why):
    unclear = detail(SeriesFacts("t1", "MR", "t1_fl3d_dyn", 320, unclear=why))
    with translation.override("ko"):
        made = proposal_for([*FOUR, unclear], DCE_ROLES)

        assert made.left_out["t1"] == str(module._UNCLEAR[why]) % module._LIMITS
        assert re.search("[\uac00-\ud7a3]", made.left_out["t1"])


def test_each_phase_of_a_series_can_be_chosen_by_itself():
    with translation.override("en"):
        offered = candidates_of([one_series(), *FOUR[:1], series("seg", None, 1, "SEG")])

    assert [one.label for one in offered] == [
        "5 · DCE · phase 1 of 4 · 10:18:12",
        "5 · DCE · phase 2 of 4 · 10:19:44",
        "5 · DCE · phase 3 of 4 · 10:21:16",
        "5 · DCE · phase 4 of 4 · 10:22:48",
        "5 · pre",
    ]
    assert offered[1].as_json() == {
        "id": "dce:TemporalPositionIdentifier:2",
        "series_id": "dce",
        "phase": {"keyword": "TemporalPositionIdentifier", "value": "2"},
        "slices": 80,
    }


@pytest.mark.parametrize("why", Unclear)
def test_a_series_that_no_lab_could_read_is_not_offered(why):
    unclear = detail(SeriesFacts("t1", "MR", "t1", 320, unclear=why))

    # Without positions, or where nobody has looked, it is not known: the lab looks closer.
    assert bool(candidates_of([unclear])) == (why in PERHAPS_ONE_PHASE)


@pytest.mark.parametrize("reason", LeftOut)
def test_every_reason_to_leave_a_series_out_has_a_sentence(reason):
    assert str(module._LEFT_OUT[reason])


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_has_a_sentence(problem):
    assert str(module._PROBLEMS[problem])


def test_a_notice_without_a_translation_is_shown_as_its_maker_wrote_it():
    with translation.override("ko"):
        assert notice_text("Made elsewhere.") == "Made elsewhere."
        assert notice_text("Trained on simulated phantoms, not for clinical use.") == (
            "모의 팬텀으로 학습한 모델이며 임상용이 아닙니다."
        )
        assert notice_text("") == ""
