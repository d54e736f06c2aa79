"""What is said of a result's input, from what the study holds of it."""

from __future__ import annotations

import pytest

from web.inference.result_state import InputState, input_state_of

READ = {"pre": 10, "post": 10}


@pytest.mark.parametrize(
    ("held", "same", "state"),
    [
        (READ, True, InputState.SAME),
        (READ, False, InputState.REPLACED),
        (READ, None, InputState.UNKNOWN),
        ({"pre": 10, "post": 11}, None, InputState.MORE),
        ({"pre": 9, "post": 10}, None, InputState.FEWER),
        ({"pre": 9, "post": 11}, None, InputState.REPLACED),
        ({"pre": 10}, None, InputState.DELETED),
        ({"pre": 12}, None, InputState.DELETED),
        ({}, None, InputState.DELETED),
        ({**READ, "another": 5}, True, InputState.SAME),
    ],
)
def test_numbers_are_certain_and_bytes_decide_where_they_agree(
    held: dict[str, int], same: bool | None, state: InputState
) -> None:
    assert input_state_of(READ, held, same_bytes=same) is state


@pytest.mark.parametrize("same", [True, None])
def test_what_differs_in_number_is_never_said_to_be_the_same(same: bool | None) -> None:
    assert input_state_of(READ, {"pre": 10, "post": 11}, same_bytes=same) is InputState.MORE
