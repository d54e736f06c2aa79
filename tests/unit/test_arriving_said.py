"""What is still arriving is said beside a proposal, in a study's lines and in the checklist."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from django.utils import translation

from messages.phases import DCE_ROLES, PhaseFacts, SeriesFacts
from tests.site import site_with
from web.checks.checklist import checklist
from web.checks.line import State
from web.inference.arriving import concerns_of_proposal, more_to_come
from web.orthanc.archive import Orthanc
from web.pages.series_lines import series_lines
from web.phases.arriving import arriving_among, is_arriving
from web.phases.proposal import proposal_for
from web.phases.studies import SeriesDetail


def series(number: int, count: int = 40, *, arriving: bool = False) -> SeriesDetail:
    name = f"ph{number}"
    phase = PhaseFacts(acquired_at_s=90.0 * number, image_count=count)
    facts = SeriesFacts(name, "MR", name, count, phases=(phase,))
    return SeriesDetail(
        series_uid="1.2", number=number, facts=facts, image_count=count, arriving=arriving
    )


FOUR = [series(number) for number in range(4)]


def away(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(503)


#: What is said of series that arrive does not need to look into their slices.
AWAY = Orthanc("http://a.invalid", "u", "p", transport=httpx.MockTransport(away))


@pytest.mark.parametrize(
    ("waits", "sentence"),
    [(True, "will be sent as soon as"), (False, "without those that are missing")],
)
def test_a_proposal_says_of_which_phases_images_are_still_arriving(
    settings: Any, waits: bool, sentence: str
) -> None:
    site_with(settings, wait_for_whole_series=waits)
    found = [*FOUR[:3], replace(FOUR[3], arriving=True)]
    with translation.override("en"):
        first, *_ = concerns_of_proposal(AWAY, found, proposal_for(found, DCE_ROLES))
    assert (first.code, first.refuses) == ("series_arriving", False)
    assert "for: Last post-contrast." in first.sentence
    assert sentence in first.sentence


def test_of_what_is_whole_nothing_is_said_of_it() -> None:
    told = concerns_of_proposal(AWAY, FOUR, proposal_for(FOUR, DCE_ROLES))
    assert "series_arriving" not in [one.code for one in told]
    assert more_to_come(FOUR, proposal_for(FOUR, DCE_ROLES)) == ""


def test_a_proposal_that_lacks_a_phase_says_that_more_may_come() -> None:
    partly = [*FOUR[:2], series(2, 24, arriving=True)]
    with translation.override("en"):
        assert "still arriving" in more_to_come(partly, proposal_for(partly, DCE_ROLES))
    assert more_to_come(FOUR[:2], proposal_for(FOUR[:2], DCE_ROLES)) == ""


@pytest.mark.parametrize(
    ("language", "text"), [("en", "24, still arriving"), ("ko", "24, 수신 중")]
)
def test_the_line_of_a_series_says_that_it_still_grows(language: str, text: str) -> None:
    partly = [series(0, 24, arriving=True), *FOUR[1:]]
    with translation.override(language):
        lines = series_lines(partly, proposal_for(partly, DCE_ROLES))
    assert [line["images"] for line in lines] == [text, "40", "40", "40"]


def test_an_archive_that_does_not_say_it_has_no_series_that_grows() -> None:
    assert not is_arriving({"ID": "x"})
    assert not is_arriving({"ID": "x", "IsStable": True})
    assert is_arriving({"ID": "x", "IsStable": False})


def test_many_series_are_asked_for_in_few_calls() -> None:
    ids = [f"{number:08x}-" + "-".join(["89abcdef"] * 4) for number in range(150)]
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        wanted = json.loads(request.content)["Resources"]
        sizes.append(len(wanted))
        # The first of all is gone.
        return httpx.Response(
            200, json=[{"ID": one, "IsStable": one != ids[7]} for one in wanted if one != ids[0]]
        )

    orthanc = Orthanc("http://a.invalid", "u", "p", transport=httpx.MockTransport(answer))
    assert arriving_among(orthanc, ids) == {ids[7]}
    assert sizes == [100, 50]
    assert arriving_among(orthanc, []) == set()


@pytest.mark.parametrize(("waits", "state"), [(True, State.OK), (False, State.SKIPPED)])
def test_the_checklist_says_whether_requests_wait(settings: Any, waits: bool, state: State) -> None:
    site_with(settings, wait_for_whole_series=waits)
    (line,) = [line for line in _first(2) if line.noun == "arriving series"]
    assert line.state is state


def _first(number: int) -> list[Any]:
    lines = checklist()
    return [next(lines) for _ in range(number)]
