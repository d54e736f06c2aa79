"""What somebody else wrote is one bounded line on a page."""

from __future__ import annotations

import pytest

from web.inference.presentation import MAX_DETAIL, failure_of
from web.one_line import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\r\nlines\tand more", "two lines and more"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("turned \u202eround\u2066", "turned round"),
        ("parted\u2028here", "parted here"),
        (" 위상이 뒤섞임 ", "위상이 뒤섞임"),
    ],
)
def test_a_line_holds_words_and_nothing_that_is_not_seen(text: str, line: str) -> None:
    assert one_line(text) == line


def test_the_words_of_a_lab_are_one_line_of_bounded_length() -> None:
    failure = failure_of("model_failed", "en", detail="no\nmask\x00 " + "x" * 500)
    assert failure is not None
    assert failure.detail.startswith("no mask x")
    assert len(failure.detail) == MAX_DETAIL
    assert failure.detail.endswith("…")
