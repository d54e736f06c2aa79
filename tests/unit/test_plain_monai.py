"""The bundle that ships gives the same through the lab and through MONAI alone."""

from __future__ import annotations

import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from consumer.bundle import read_bundle
from consumer.children import reader, segmenter
from consumer.children.segmenter import SegmentationJob
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex
from infra.local.settings import REPOSITORY
from infra.phantom.dicom import write_study
from infra.phantom.grid import Grid
from infra.phantom.study import simulate
from tests.dicom_factory import place, spec

BUNDLE = REPOSITORY / "consumer" / "bundles" / "breast_dce_phantom"

ROLES = ("pre", "post1", "post2", "last")


@pytest.fixture(autouse=True)
def libraries() -> None:
    """Torch and MONAI, which not every process that collects tests has to load."""
    with warnings.catch_warnings():
        # Their own imports: ignite still uses torch.jit, which torch calls deprecated.
        warnings.simplefilter("ignore")
        import_module("monai.bundle")


def series_of(folder: Path, study: object) -> list[list[Path]]:
    """The files of each phase."""
    written = write_study(study, folder)  # type: ignore[arg-type]
    found: dict[str, list[Path]] = {uid: [] for uid in written.series_instance_uids}
    for path in written.files:
        uid = dcmread(path, stop_before_pixels=True).SeriesInstanceUID
        # A localizer lies beside them.
        if uid in found:
            found[uid].append(path)
    return list(found.values())


def through_the_lab(phases: list[list[Path]]) -> bytes:
    """The SEG: read, inferred and packaged as a run does it, every mark kept."""
    bundle = read_bundle(BUNDLE)
    first = dcmread(phases[0][0], stop_before_pixels=True)
    with MemoryFile() as files, MemoryFile() as volumes, MemoryFile() as mask:
        source = DownloadIndex(
            first.StudyInstanceUID,
            tuple(
                place(
                    files,
                    [path.read_bytes() for path in paths],
                    role,
                    dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID,
                )
                for role, paths in zip(ROLES, phases, strict=True)
            ),
        )
        header = reader.read_phases(source, volumes.path)
        segmenter.segment(
            SegmentationJob(
                bundle=bundle,
                device="cpu",
                volumes_path=volumes.path,
                mask_path=mask.path,
                shape=header.shape,
                affine_lps=header.affine_lps,
                threshold=0.5,
            )
        )
        made_by = spec(labels=bundle.descriptor.labels, min_lesion_mm3=0.0)
        return reader.package(source, mask.path, header.shape[1:], made_by).dicom_bytes


def through_monai(volumes: list[highdicom.Volume]) -> np.ndarray:
    """The mask of the bundle's own configuration, parsed and run by MONAI and nothing of ours."""
    import torch
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser.read_meta(str(BUNDLE / "configs" / "metadata.json"))
    parser["bundle_root"] = str(BUNDLE)
    parser["device"] = "$torch.device('cpu')"
    parser.get_parsed_content("initialize")
    # RAS+, as MONAI counts; DICOM counts LPS+.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volumes[0].affine
    image = np.stack([one.array for one in volumes]).astype(np.float32)
    dataflow = parser.get_parsed_content("dataflow")
    dataflow["image"] = MetaTensor(torch.from_numpy(image), affine=affine)
    parser.get_parsed_content("run")
    found: np.ndarray = (torch.as_tensor(dataflow["pred"])[0] >= 0.5).numpy()
    return found


def test_the_stored_mask_is_that_of_plain_monai_on_the_same_images(tmp_path: Path) -> None:
    phases = series_of(tmp_path, simulate(seed=5, grid=Grid(slices=32, matrix=96), tumours=2))
    stored = through_the_lab(phases)
    images: list[list[Dataset]] = [[dcmread(path) for path in paths] for paths in phases]
    volumes = [highdicom.get_volume_from_series(one, dtype=np.float64) for one in images]

    plain = through_monai(volumes)
    seg = highdicom.seg.segread(BytesIO(stored)).get_volume(combine_segments=True)
    ours = seg.match_geometry(volumes[0]).array > 0

    assert plain.any()
    np.testing.assert_array_equal(ours, plain)
