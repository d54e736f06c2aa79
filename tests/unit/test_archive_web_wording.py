"""The texts of the pages cover what can happen to a request."""

from __future__ import annotations

import pytest

from consumer.errors import Retry
from messages.failures import FAILURE_TEXTS
from web.inference.states import State
from web.wording.texts import label_of, page_texts


def test_whatever_a_lab_tries_again_has_a_sentence_with_the_time():
    told = page_texts()["next_try"]

    assert set(told) == {kind.code.value for kind in Retry.__subclasses__()}
    assert [text for text in told.values() if "{time}" not in text] == []


def test_every_state_and_failure_has_its_words():
    texts = page_texts()

    assert set(texts["status"]) == set(texts["labels"]["states"]) == {str(s) for s in State}
    assert set(texts["failures"]) == {str(code) for code in FAILURE_TEXTS}


@pytest.mark.parametrize(
    ("state", "code", "label"),
    [
        ("failed", "", "Failed"),
        ("failed", "too_large", "Failed"),
        ("failed", "expired", "Expired"),
        ("failed", "deadline_exceeded", "Took too long"),
        ("waiting", "out_of_memory", "Will be tried again"),
        ("dead", "worker_crashed", "Given up"),
    ],
)
def test_the_list_tells_an_expiry_from_a_failure(state, code, label):
    assert label_of(state, code) == label
