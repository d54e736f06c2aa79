"""Finding and describing the bundles of a lab."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from consumer.bundle import BundleInvalid, find_bundles, read_bundle
from consumer.settings import LabSettings
from messages.lab import MAX_LABELS, MAX_MODELS

HELD = Path(__file__).parents[1] / "bundles" / "held"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HELD, tmp_path / "held"))


def test_the_bundle_that_ships_tells_its_roles_and_says_what_it_is() -> None:
    shipped = LabSettings.model_fields["model_path"].default
    descriptor = find_bundles(shipped)["breast_dce_phantom"].descriptor
    assert descriptor.roles == ("pre", "post1", "post2", "last")
    assert descriptor.labels == ("tumor",)
    assert descriptor.notice == "Trained on simulated phantoms, not for clinical use."


def test_one_bundle_and_a_folder_of_bundles_are_both_found(bundle: Path) -> None:
    shutil.copytree(bundle, bundle.parent / "second")
    assert set(find_bundles(bundle)) == {"held"}
    assert set(find_bundles(bundle.parent)) == {"held", "second"}


def test_the_hash_follows_what_decides_a_result_and_nothing_else(bundle: Path) -> None:
    before = read_bundle(bundle).descriptor.sha256
    (bundle / "README.md").write_text("other words")
    (bundle / "hold").touch()
    assert read_bundle(bundle).descriptor.sha256 == before
    (bundle / "models").mkdir(exist_ok=True)
    (bundle / "models" / "model.pt").write_bytes(b"other weights")
    assert read_bundle(bundle).descriptor.sha256 != before


@pytest.mark.parametrize(
    "metadata",
    [
        "not json",
        "[]",
        "{}",
        json.dumps({"version": "1", "network_data_format": {"inputs": {"image": {}}}}),
        json.dumps({"version": 1, "network_data_format": 2}),
    ],
)
def test_metadata_that_cannot_be_used_is_one_sentence(bundle: Path, metadata: str) -> None:
    (bundle / "configs" / "metadata.json").write_text(metadata)
    with pytest.raises(BundleInvalid, match=r"metadata\.json") as refusal:
        read_bundle(bundle)
    assert "\n" not in str(refusal.value)


def test_a_folder_without_a_bundle_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="MODEL_PATH"):
        find_bundles(tmp_path)


def with_reading_phase(bundle: Path, role: object) -> Path:
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text("utf-8"))
    metadata["reading_phase"] = role
    file.write_text(json.dumps(metadata))
    return bundle


def test_a_bundle_may_name_the_phase_on_which_its_result_is_read(bundle: Path) -> None:
    assert read_bundle(bundle).reading_phase == ""
    role = read_bundle(bundle).descriptor.roles[-1]
    assert read_bundle(with_reading_phase(bundle, role)).reading_phase == role


@pytest.mark.parametrize("role", ["post9", "", None, 1, ["pre"]])
def test_a_reading_phase_that_is_none_of_the_roles_is_refused_by_name(
    bundle: Path, role: object
) -> None:
    with pytest.raises(BundleInvalid, match=r"reading_phase in .*metadata\.json is none of"):
        read_bundle(with_reading_phase(bundle, role))


def test_what_one_message_cannot_tell_is_refused_before_the_lab_serves(bundle: Path) -> None:
    file = bundle / "configs" / "metadata.json"
    metadata = json.loads(file.read_text("utf-8"))
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    # Each of them is short enough, and all together are more than a message may hold.
    outputs["channel_def"] = {str(number): "뇌" * 64 for number in range(MAX_LABELS)}
    file.write_text(json.dumps(metadata))
    with pytest.raises(BundleInvalid, match=r"more than the .* that the site can be told"):
        read_bundle(bundle)


def test_a_folder_of_more_bundles_than_a_heartbeat_can_name_is_refused(bundle: Path) -> None:
    for number in range(MAX_MODELS):
        shutil.copytree(bundle, bundle.parent / f"another-{number}")
    with pytest.raises(BundleInvalid, match=f"holds {MAX_MODELS + 1} bundles; one lab serves"):
        find_bundles(bundle.parent)
