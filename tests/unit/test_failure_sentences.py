"""Failure codes as readers meet them: also those that this version does not know."""

from __future__ import annotations

import pytest
from django.utils import translation

from consumer import errors
from messages.failures import FINAL, UNKNOWN_FAILURE, FailureCode, text_of
from web.inference.presentation import failure_of
from web.wording.texts import label_of


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_stored_code_of_a_newer_version_is_a_general_sentence(language: str) -> None:
    with translation.override(language):
        failure = failure_of("a_code_of_tomorrow")
        assert label_of("failed", "a_code_of_tomorrow") == label_of("failed")
    assert failure is not None
    assert failure.code == "a_code_of_tomorrow"
    assert failure.reader == UNKNOWN_FAILURE.reader(language)
    # Nobody knows that it would end the same way.
    assert not failure.final


def test_what_a_lab_tries_again_by_itself_is_never_final() -> None:
    passing = {kind.code for kind in errors.Retry.__subclasses__()}
    assert not passing & FINAL


@pytest.mark.parametrize("code", sorted(FINAL))
def test_a_code_that_must_come_again_is_said_to_be_final(code: FailureCode) -> None:
    failure = failure_of(code, "en", detail="slice 3 of post1")
    assert failure is not None
    assert failure.final
    assert failure.detail == "slice 3 of post1"


def test_what_passes_a_limit_of_the_lab_may_be_asked_for_again() -> None:
    # The lab may have been busy when it read, and an operator raises a limit.
    assert FailureCode.TOO_LARGE not in FINAL


def test_a_series_that_changed_may_be_asked_for_again() -> None:
    failure = failure_of("series_changed", "en")
    assert failure is not None
    assert not failure.final


@pytest.mark.parametrize(
    ("language", "arrives", "silent"),
    [("en", "still arriving", "did not answer"), ("ko", "전송되고 있거나", "응답하지 않아")],
)
def test_what_was_held_too_long_is_not_said_to_arrive_where_the_archive_was_silent(
    language: str, arrives: str, silent: str
) -> None:
    sentence = text_of("series_incomplete").reader(language)
    assert arrives in sentence
    assert silent in sentence
