"""The bundle whose weights are fetched: what it refuses, and the steps around its networks."""

from __future__ import annotations

import json
import runpy
import shutil
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.bundle import TUMOR, BundleInvalid, Code, ResultCodes, read_bundle
from consumer.children import reader
from consumer.memory import MemoryFile
from infra.brain.fetch import SOURCE, pinned_weights
from tests.dicom_factory import Series, index, spec

HELD = Path(__file__).parents[1] / "bundles" / "held"
#: It fits the description of a series, 64 bytes, which stands in every list of an archive.
NOTICE = "Trained for T1 brain masks. No medical device, no clinical use."


@pytest.fixture(scope="module")
def code() -> dict[str, Any]:
    """With torch, which not every process that collects tests has to load."""
    return runpy.run_path(str(SOURCE / "scripts" / "brain_mask.py"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle as it is committed, with weights that are others'."""
    copy = Path(shutil.copytree(SOURCE, tmp_path / "brain_mask_deepbet"))
    for name in pinned_weights():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(b"a program of somebody else")
    return copy


def test_a_bundle_with_other_weights_than_its_own_is_refused_before_it_is_loaded(
    bundle: Path,
) -> None:
    with pytest.raises(BundleInvalid, match=r"models/\w+\.pt is not the file that the bundle"):
        read_bundle(bundle)
    shutil.rmtree(bundle / "models")
    with pytest.raises(BundleInvalid, match=r"models/\w+\.pt is missing; docs/README\.md"):
        read_bundle(bundle)


def test_the_bundle_itself_runs_no_other_weights_either(bundle: Path, code: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"models/bbox_model\.pt is not the file"):
        code["BrainMask"](str(bundle), pinned_weights())


def test_a_bundle_says_what_it_marks_and_one_that_does_not_marks_a_tumour(
    bundle: Path, tmp_path: Path
) -> None:
    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text("utf-8")) | {"weights_sha256": {}}
    path.write_text(json.dumps(metadata), "utf-8")
    found = read_bundle(bundle)
    assert found.descriptor.roles == ("image",)
    assert found.descriptor.labels == ("brain",)
    assert found.descriptor.notice == NOTICE
    assert found.codes.type.meaning == found.codes.site.meaning == "Brain"
    assert read_bundle(HELD).codes == TUMOR


@pytest.mark.parametrize(
    "codes",
    [
        {"type": ["12738006", "SCT"]},
        {"type": ["12738006", "SCT", ""]},
        {"type": ["12738006", "SCT", 5]},
        {"type": ["1" * 17, "SCT", "Brain"]},
        {"kind": ["12738006", "SCT", "Brain"]},
        {"type": 5},
        {"type": ["12738006", "SCT", "Brain"]},
        {},
        [],
    ],
)
def test_codes_that_cannot_be_written_are_one_sentence(tmp_path: Path, codes: Any) -> None:
    copy = Path(shutil.copytree(HELD, tmp_path / "held"))
    path = copy / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"result_codes": codes}))
    with pytest.raises(BundleInvalid, match=r"metadata\.json") as refusal:
        read_bundle(copy)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("marked", [True, False], ids=["found", "nothing found"])
def test_a_result_says_what_the_bundle_marks_and_nothing_of_a_tumour(marked: bool) -> None:
    brain = Code("12738006", "SCT", "Brain")
    codes = ResultCodes(
        category=Code("91723000", "SCT", "Anatomical Structure"),
        type=brain,
        site=brain,
        procedure=Code("816077007", "SCT", "MRI of brain"),
    )
    series = Series()
    mask = np.full((series.slices, series.rows, series.columns), int(marked), np.uint8)
    with MemoryFile() as memory, MemoryFile() as masks:
        source = index(memory, image=series)
        masks.write(mask.tobytes())
        asked = spec(model_name="brain", labels=("brain",), codes=codes)
        primary = reader.package(source, masks.path, mask.shape, asked)
        report = reader.measure_stored(primary.dicom_bytes, source, asked).report or b""
    assert primary.kind == ("seg" if marked else "sr")
    written = primary.dicom_bytes + report
    assert written.count(b"12738006") >= 2
    assert b"MRI of brain" in written
    for word in (b"eoplasm", b"reast", b"esion", b"umor", b"TUMOR"):
        assert word not in written


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_any_orientation_is_turned_to_ras_and_back(
    axes: tuple[int, ...], signs: tuple[int, ...], code: dict[str, Any]
) -> None:
    import torch

    affine = np.zeros((4, 4))
    for axis, (to, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[to, axis] = sign * (axis + 1.5)
    # A little oblique, as heads are.
    affine[:3, :3] += 0.1
    order, backwards = code["to_ras"](affine)
    turned = affine[:3, order]
    turned[:, backwards] *= -1
    assert (np.diag(turned) > 1).all()
    volume = torch.arange(24).reshape(2, 3, 4)
    there = volume.permute(order).flip(backwards)
    back = there.flip(backwards).permute(np.argsort(order).tolist())
    assert torch.equal(back, volume)


def test_the_box_grows_by_its_margin_and_stays_in_the_volume(code: dict[str, Any]) -> None:
    region = np.zeros((128, 128, 128), dtype=bool)
    region[32:96, 10:120, 20:80] = True
    # First axis: 64 planes are 128 in the volume, with margins 154 around the middle.
    box = slice(51, 205), slice(0, 128), slice(7, 43)
    assert code["box_around"](region, (256, 128, 64)) == box
    assert code["box_around"](np.zeros((128, 128, 128), dtype=bool), (256, 128, 64)) is None


def test_one_region_without_holes_is_kept_and_faint_surroundings_stay(code: dict[str, Any]) -> None:
    probability = np.zeros((9, 9, 9), dtype=np.float32)
    probability[2:7, 2:7, 2:7] = 0.9
    probability[4, 4, 4] = 0.1  # a hole
    probability[0, 0, 0] = 0.8  # another region
    probability[7, 4, 4] = 0.3  # faint
    kept = code["one_region"](probability)
    assert kept[4, 4, 4] == 1
    assert kept[0, 0, 0] == 0
    assert kept[7, 4, 4] == pytest.approx(0.3)
    assert (kept >= 0.5).sum() == 125
    assert not code["one_region"](np.zeros((3, 3, 3), dtype=np.float32)).any()
