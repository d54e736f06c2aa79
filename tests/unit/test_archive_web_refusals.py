"""Everything that speaks against a choice of phases is a sentence, in both languages."""

from __future__ import annotations

import re

import pytest
from django.utils import translation

from messages.phases import SeriesFacts, Unclear
from messages.phases.agreement import AGREEMENT_KEYWORDS
from messages.phases.check import WARNINGS, Concern, Fault
from messages.phases.parts import NOT_LOOKED_INTO, PERHAPS_ONE_PHASE
from messages.request import PhaseSelector
from web.phases import chosen
from web.phases.concerns import ATTRIBUTES, refusal_of, worded
from web.refusals import NotAsked

HANGUL = re.compile("[\uac00-\ud7a3]")

#: How many roles a fault names.
ROLES = {
    Fault.COUNT: (),
    Fault.TOO_FAR_APART: (),
    Fault.NO_TIME: ("last",),
    Fault.NO_GRID: ("last",),
    Fault.MIXED: ("last",),
    Fault.SLICES_NOT_READ: ("last",),
    Fault.DIFFERENT_SCALES: (),
}


@pytest.mark.parametrize("fault", sorted(Fault))
def test_every_fault_says_what_differs_in_both_languages(fault: Fault) -> None:
    concern = Concern(fault, ROLES.get(fault, ("pre", "last")), 7200.0, 3.0)
    for language, role in (("en", "Last post-contrast"), ("ko", "조영 후 마지막")):
        with translation.override(language):
            (one,) = worded([concern])
        assert re.fullmatch("[a-z_]+", one.code)
        assert bool(HANGUL.search(one.sentence)) == (language == "ko")
        assert "%(" not in one.sentence
        assert role in one.sentence or not concern.roles
        assert one.refuses == (fault not in WARNINGS)
        assert ("120" in one.sentence) == (fault is Fault.TOO_FAR_APART)


@pytest.mark.parametrize("keyword", [k for k in AGREEMENT_KEYWORDS if k != "AcquisitionDate"])
def test_a_mixed_phase_names_role_attribute_and_slice_in_both_languages(keyword: str) -> None:
    # Two roles, of which each has a sentence.
    concerns = [Concern(Fault.MIXED, (role,), 17, keyword=keyword) for role in ("post1", "last")]
    for language, role in (("en", "Last post-contrast"), ("ko", "조영 후 마지막")):
        with translation.override(language):
            found = worded(concerns)
            name = str(ATTRIBUTES[keyword])
        assert [one.code for one in found] == ["mixed_phase", "mixed_phase"]
        assert role in found[1].sentence
        assert "17" in found[1].sentence
        assert name in found[1].sentence
        assert bool(HANGUL.search(name)) == (language == "ko")
        assert keyword not in found[1].sentence


def test_a_refusal_has_the_code_that_a_lab_would_say() -> None:
    refusal = refusal_of(Concern(Fault.OUT_OF_ORDER, ("pre", "last"), -3.0, 0.0))
    assert (refusal.status, refusal.code) == (422, "phases_out_of_order")


def test_what_is_said_of_single_roles_is_one_sentence_and_a_refusal_comes_first() -> None:
    concerns = [
        Concern(Fault.NO_TIME, ("pre",)),
        Concern(Fault.TOO_CLOSE, ("pre", "post1"), 4.0, 30.0),
        Concern(Fault.NO_TIME, ("last",)),
        Concern(Fault.TOO_CLOSE, ("post1", "post2"), 4.0, 30.0),
        Concern(Fault.SPACING, ("pre", "last"), 0.4, 0.8),
    ]
    with translation.override("en"):
        found = worded(concerns)

    assert [one.code for one in found] == ["geometry_mismatch", "no_time", "too_close", "too_close"]
    assert "Pre-contrast, Last post-contrast" in found[1].sentence


@pytest.mark.parametrize("why", sorted(frozenset(Unclear) - PERHAPS_ONE_PHASE))
def test_a_series_whose_phases_cannot_be_told_apart_is_refused_in_both_languages(
    why: Unclear,
) -> None:
    with translation.override("en"):
        assert not HANGUL.search(str(chosen._UNCLEAR[why]))
    with translation.override("ko"):
        assert HANGUL.search(str(chosen._UNCLEAR[why]))


@pytest.mark.parametrize("why", sorted(NOT_LOOKED_INTO))
def test_of_a_series_that_was_not_looked_into_no_phase_is_said_to_be_absent(why: Unclear) -> None:
    series = {"s": SeriesFacts("s", "MR", "dyn", 20, unclear=why)}
    phase = PhaseSelector(keyword="TemporalPositionIndex", value="3")

    with translation.override("en"), pytest.raises(NotAsked) as caught:
        chosen.phases_of(series, [chosen.Selection("image", "s", phase)])

    assert caught.value.code == "phases_unclear"
    assert "does not hold" not in str(caught.value.message)
