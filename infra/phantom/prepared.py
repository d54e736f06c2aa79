"""Training studies on the grid of the bundle's network, and where their patches lie."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray
from scipy import ndimage

from infra.phantom.bundle import parse_bundle
from infra.phantom.splits import Case

#: Patches without a tumour are centred where something else takes up this much contrast,
#: relative to the mean tissue signal: what can be mistaken for a tumour.
UPTAKE: Final = 0.4
#: Patch centres from each connected part, and voxels of a part that is more than noise.
CENTRES: Final = 60
LEAST_PART: Final = 10
#: Probability outside a tumour from which on it counts as a mistake worth learning from.
MISTAKEN: Final = 0.3


def prepare(case: Case, folder: Path) -> Path:
    """Simulate a study and keep it on the network's grid in a folder of its own.

    image.npy is float16 (4, x, y, z), label.npy uint8 (1, x, y, z); tumour.npy and tissue.npy
    are the flat indices of voxels that a patch may be centred on.
    """
    path = folder / f"{case.seed}-{case.preset}-{case.tumours}-{case.grid.slices}"
    if path.exists():
        return path
    torch.set_num_threads(1)
    study = case.simulate()
    preprocessing = parse_bundle().get_parsed_content("preprocessing")
    image = preprocessing({"image": MetaTensor(study.phases, affine=study.affine)})["image"]
    # The same resampling brings the truth along; its last steps are for intensities only.
    spatial = Compose(preprocessing.transforms[:3])
    label = spatial(
        {"image": MetaTensor(study.truth[None].astype(np.float32), affine=study.affine)}
    )["image"]
    store(path, image.numpy().astype(np.float16), (label.numpy() >= 0.5).astype(np.uint8))
    return path


def store(path: Path, image: NDArray[np.float16], label: NDArray[np.uint8]) -> None:
    """Write the four files of a prepared study; the folder appears when it is complete."""
    partial = path.with_suffix(".part")
    partial.mkdir(exist_ok=True)
    np.save(partial / "image.npy", image)
    np.save(partial / "label.npy", label)
    np.save(partial / "tumour.npy", centres(label[0] > 0))
    np.save(partial / "tissue.npy", centres((image[1] > UPTAKE) & (label[0] == 0)))
    partial.rename(path)


def centres(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Flat indices of at most `CENTRES` voxels of each connected part of `mask` (x, y, z).

    So a small tumour is seen as often as a large one, and a vessel as often as the heart.
    """
    parts, _ = ndimage.label(mask)
    inside = np.flatnonzero(mask)
    inside = inside[np.argsort(parts.ravel()[inside], kind="stable")]
    sizes = np.bincount(parts.ravel())[1:]
    starts = np.cumsum(sizes) - sizes
    picked = [
        inside[start + np.linspace(0, size - 1, min(size, CENTRES), dtype=np.int64)]
        for start, size in zip(starts, sizes, strict=True)
        if size >= LEAST_PART
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *picked])


@dataclass(frozen=True)
class Prepared:
    """A prepared study, and where its patches without a tumour are centred (flat indices)."""

    path: Path
    tissue: NDArray[np.int64]

    def load(self) -> dict[str, torch.Tensor]:
        """Open it; the image is mapped, as a patch needs little of it."""
        names = ("image", "label", "tumour")
        arrays = {n: np.load(self.path / f"{n}.npy", mmap_mode="c") for n in names}
        return {n: torch.from_numpy(a) for n, a in {**arrays, "tissue": self.tissue}.items()}


def mine(network: torch.nn.Module, study: Prepared) -> Prepared:
    """Centre the patches without a tumour where `network` sees one all the same."""
    data = study.load()
    image = data["image"].float()[None].to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        found = torch.sigmoid(network(image))[0, 0].numpy()
    wrong = centres((found >= MISTAKEN) & (data["label"][0].numpy() == 0))
    # Some old centres stay, so that what was right remains so.
    kept = study.tissue[:: max(1, 3 * len(study.tissue) // (len(wrong) + 1))]
    return replace(study, tissue=np.concatenate([wrong, kept]))
