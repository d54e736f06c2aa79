"""The bundle that ships: what it says of itself, and that it answers alike every time."""

import gc
import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from infra.local.settings import REPOSITORY
from infra.phantom.grid import Grid
from infra.phantom.study import simulate

BUNDLE = REPOSITORY / "consumer" / "bundles" / "breast_dce_phantom"


@pytest.fixture(scope="module")
def evaluate() -> Any:
    """With torch and MONAI, which not every process that collects tests has to load."""
    with warnings.catch_warnings():
        # The libraries' own imports: ignite still uses torch.jit, which torch calls deprecated.
        warnings.simplefilter("ignore")
        from infra.phantom import evaluate
    return evaluate


@pytest.fixture(scope="module")
def runner(evaluate: Any) -> Any:
    return evaluate.BundleRunner(BUNDLE)


def test_the_bundle_says_what_it_was_trained_on_and_which_phases_it_wants() -> None:
    meta = json.loads((BUNDLE / "configs/metadata.json").read_text())
    assert meta["intended_use"] == "Trained on simulated phantoms, not for clinical use."
    image = meta["network_data_format"]["inputs"]["image"]
    assert list(image["channel_def"].values()) == ["pre", "post1", "post2", "last"]
    assert meta["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "tumor"}
    assert (BUNDLE / "models/model.pt").stat().st_size < 4 * 2**20


def test_the_bundle_answers_the_same_for_the_same_study_however_its_slices_lie(
    runner: Any, evaluate: Any
) -> None:
    study = simulate(7, "plain", Grid(64, 128), tumours=2)
    other = simulate(8, "hard", Grid(24, 96), tumours=0)
    axial = runner.probabilities(study)
    assert axial.shape == study.truth.shape
    assert 0 <= axial.min() <= axial.max() <= 1
    assert evaluate.dice(study.truth, axial >= 0.5) > 0.7

    # Another study in between, of another size, leaves no trace.
    assert runner.probabilities(other).shape == other.truth.shape
    assert np.array_equal(axial, runner.probabilities(study))

    # The same volume with its columns as slices and its rows from the back to the front.
    affine = study.affine[:, [2, 1, 0, 3]]
    phases = study.phases.transpose(0, 3, 2, 1)[:, :, ::-1]
    affine[:3, 3] += affine[:3, 1] * (phases.shape[2] - 1)
    affine[:3, 1] *= -1
    turned = replace(study, phases=np.ascontiguousarray(phases), affine=affine)
    sagittal = runner.probabilities(turned)
    assert np.allclose(sagittal[:, ::-1].transpose(2, 1, 0), axial, atol=1e-3)

    gc.collect()
    kept = [t for t in gc.get_objects() if type(t).__name__ == "MetaTensor"]
    assert [t.shape for t in kept if t.numel() > 10_000] == []


def test_dice_is_one_for_equal_masks_and_nought_for_disjoint_ones(evaluate: Any) -> None:
    mask = np.array([True, True, False])
    assert evaluate.dice(mask, mask) == 1.0
    assert evaluate.dice(mask, ~mask) == 0.0
    assert evaluate.dice(mask, np.array([True, False, False])) == pytest.approx(2 / 3)
