"""Whose rows are stored the other way round than their header says, by what real images say."""

from __future__ import annotations

import pytest

from messages.phases.turned import may_be_turned, rows_turned


def elements(
    mode: str, name: str = "research/ABCD/epi_pepolar", creator: str = "GEMS_ACQU_01"
) -> dict[str, str]:
    return {"0019,0010": creator, "0019,109c": name, "0019,10b3": mode}


@pytest.mark.parametrize("mode", ["1.000000", "2.000000", "3.000000", "2"])
def test_a_run_with_reversed_phase_encoding_is_known(mode: str) -> None:
    assert rows_turned(elements(mode))


@pytest.mark.parametrize(
    "found",
    [
        elements("0.000000"),
        elements(""),
        elements("reversed"),
        elements("2", name="epi2"),
        elements("2", creator="SIEMENS MR HEADER"),
        {},
    ],
)
def test_every_other_image_says_the_truth(found: dict[str, str]) -> None:
    assert not rows_turned(found)


def test_only_echo_planar_images_are_asked() -> None:
    assert may_be_turned({"ScanningSequence": "EP\\RM"})
    assert not may_be_turned({"ScanningSequence": "GR"})
    assert not may_be_turned({})
