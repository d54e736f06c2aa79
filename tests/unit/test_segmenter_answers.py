"""What a bundle may answer with."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.errors import ModelFailed
from tests.unit.test_segmenter_memory import run

ANSWER = "$@dataflow.update(pred=torch.full((1, 2, 4, 4), {}))"


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "-float('inf')"])
def test_an_answer_that_is_no_number_is_not_told_as_nothing_found(
    tmp_path: Path, value: str
) -> None:
    with pytest.raises(ModelFailed, match="no numbers"):
        run(tmp_path, f"answers-{value[-4:-2]}{len(value)}", ANSWER.format(value))


def test_an_answer_of_numbers_is_taken(tmp_path: Path) -> None:
    run(tmp_path, "answers-0", ANSWER.format("0.25"))
