"""What a bundle may answer with."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.errors import ModelFailed, ModelUnavailable
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


def test_a_background_is_no_finding(tmp_path: Path) -> None:
    softmax = "$@dataflow.update(pred=torch.stack((torch.ones(2, 4, 4), torch.zeros(2, 4, 4))))"
    labels = ("Background", "tumor")
    assert not run(tmp_path, "softmax", softmax, labels=labels).any()
    assert run(tmp_path, "turned", softmax, labels=labels[::-1]).all()


@pytest.mark.parametrize(
    ("channels", "labels"),
    [
        # A softmax whose metadata names the finding alone: its first channel is the background.
        (2, ("tumor",)),
        # A map of labels where two channels are declared.
        (1, ("background", "tumor")),
        (3, ("background", "tumor")),
    ],
)
def test_other_channels_than_the_declared_ones_are_refused(
    tmp_path: Path, channels: int, labels: tuple[str, ...]
) -> None:
    answer = f"$@dataflow.update(pred=torch.zeros(({channels}, 2, 4, 4)))"
    with pytest.raises(ModelFailed, match=f"{len(labels)} declared channels"):
        run(tmp_path, f"channels-{channels}-{len(labels)}", answer, labels=labels)


@pytest.mark.parametrize("value", ["-4.5", "7.0", "-0.1"])
def test_logits_are_no_probabilities(tmp_path: Path, value: str) -> None:
    with pytest.raises(ModelFailed, match="no probabilities"):
        run(tmp_path, f"logits{value[-3]}{value[-1]}", ANSWER.format(value))


@pytest.mark.parametrize("labels", [("background",), ("tumor", "cyst"), ("background", "a", "b")])
def test_none_or_several_findings_are_refused_when_the_bundle_is_loaded(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    with pytest.raises(ModelUnavailable, match="findings in channel_def"):
        run(tmp_path, f"findings-{len(labels)}-{labels[0]}", ANSWER.format("0.5"), labels=labels)
