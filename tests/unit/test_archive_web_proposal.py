"""Each role comes with a series and a reason in the reader's language."""

from __future__ import annotations

import pytest
from django.utils import translation

from messages.phases import DCE_ROLES, LeftOut, Problem
from web.archive import proposal as module
from web.archive.proposal import notice_text, proposal_for
from web.archive.studies import SeriesDetail


def series(name: str, time: float | None, count: int = 80, modality: str = "MR") -> SeriesDetail:
    return SeriesDetail(
        series_id=name,
        series_uid="1.2",
        modality=modality,
        description=name,
        number=1,
        instance_count=count,
        acquired_at_s=time,
        image_type=(),
    )


FOUR = [series("pre", 0.0), series("ph1", 92.0), series("ph2", 184.0), series("ph3", 540.0)]


def test_the_phases_are_proposed_in_time_order_with_their_reasons():
    with translation.override("en"):
        made = proposal_for([*reversed(FOUR), series("localizer", 1.0, 9)], DCE_ROLES)

    assert [item.series_id for item in made.roles] == ["pre", "ph1", "ph2", "ph3"]
    assert made.roles[0].reason == "No. 1 of 4 by acquisition time"
    assert made.roles[1].reason == "No. 2 of 4 by acquisition time, 92 s after the first"
    assert "localizer" in made.left_out
    assert made.problem == ""


def test_a_korean_reader_gets_korean_reasons():
    with translation.override("ko"):
        made = proposal_for(FOUR, DCE_ROLES)

    assert made.roles[1].label == "조영 후 1차"
    assert made.roles[1].reason == "촬영 시각순 4개 중 2번째, 첫 시리즈로부터 92초 후"


def test_too_few_series_leave_the_choice_to_the_reader():
    made = proposal_for(FOUR[:2], DCE_ROLES)

    assert [item.series_id for item in made.roles] == [""] * 4
    assert made.problem


def test_a_one_phase_model_gets_one_series():
    with translation.override("en"):
        made = proposal_for(FOUR[:1], ("image",))

    assert made.roles[0].series_id == "pre"
    assert made.roles[0].reason == "The only series that fits"


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
