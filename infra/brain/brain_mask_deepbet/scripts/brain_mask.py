# ruff: noqa: INP001 - a script of the bundle, which `runpy` reads: no package holds it
"""Two networks that mark the brain: where it lies, then which voxels are it.

Written after the description in the package deepbet 1.0.2, whose weights it runs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from io import BytesIO
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn.functional import interpolate

#: Files in the bundle: the network that finds the brain, and the one that marks its voxels.
FIND, MARK = "models/bbox_model.pt", "models/model.pt"

#: Voxels along each axis that the two networks take.
FIND_SHAPE, MARK_SHAPE = (128, 128, 128), (256, 256, 256)

#: Share of the darkest and of the brightest voxels that the grey scale leaves out.
TAIL = 0.005

#: Mean and spread of the grey scale that the networks were trained on.
MEAN, SPREAD = 0.449, 0.226

#: Probability from which a voxel is brain where regions and holes are looked for.
SURE = 0.5

#: Share of a plane that must be brain for the plane to count, and by how much of its length the
#: box then grows at each end.
LEAST_OF_PLANE, MARGIN = 0.02, 0.1

#: Voxels that touch in a corner belong to one region.
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


class BrainMask:
    """The two networks, and what lies between an image and its mask."""

    def __init__(
        self, bundle_root: str, sha256: Mapping[str, str], device: torch.device | str = "cpu"
    ) -> None:
        self._device = torch.device(device)
        self._find = pinned(Path(bundle_root), FIND, sha256, self._device)
        self._mark = pinned(Path(bundle_root), MARK, sha256, self._device)

    def __call__(self, image: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
        """Probability of brain (1, i, j, k), float32, of an image (1, i, j, k) on the same grid.

        `affine` (4, 4) leads from the indices to mm in RAS+. The largest region that exceeds
        `SURE` keeps its values, holes in it become 1, and other regions 0; all is 0 when no brain
        is found.
        """
        order, backwards = to_ras(np.asarray(affine, dtype=np.float64))
        turned = image[0].permute(order).flip(backwards)
        found = self._probability(turned.to(self._device, torch.float32).nan_to_num())
        back = found.cpu().flip(backwards).permute(np.argsort(order).tolist())
        return back[None].contiguous()

    @torch.no_grad()
    def _probability(self, volume: torch.Tensor) -> torch.Tensor:
        """Like `__call__`, of a volume (x, y, z) whose axes run to the right, front and top."""
        found = torch.zeros_like(volume)
        small = _resized(volume, FIND_SHAPE)
        low, high = small.quantile(TAIL), small.quantile(1 - TAIL)
        if not high > low:
            return found
        rough = self._find(_grey(small, low, high)[None, None])[0, 1]
        box = box_around(largest_region(rough.cpu().numpy() > SURE), tuple(volume.shape))
        if box is None:
            return found
        inside = _grey(_resized(volume[box], MARK_SHAPE), low, high)
        marked = self._mark(inside[None, None])[0, 1]
        probability = _resized(marked, tuple(found[box].shape)).cpu().numpy()
        found[box] = torch.from_numpy(one_region(probability)).to(self._device)
        return found


def pinned(
    root: Path, name: str, sha256: Mapping[str, str], device: torch.device
) -> torch.jit.ScriptModule:
    """Load TorchScript from the bytes that the bundle was made for.

    A TorchScript file is a program: no other one is run. Raises ValueError, naming the file.
    """
    content = (root / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256[name]:
        raise ValueError(f"{name} is not the file that this bundle was made for (SHA-256)")
    with warnings.catch_warnings():
        # Deprecated, and the only way to read what the package holds.
        warnings.filterwarnings(
            "ignore", message=r".*torch\.jit\.load", category=DeprecationWarning
        )
        network: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            BytesIO(content), map_location=device
        )
    network.eval()
    return network


def to_ras(affine: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Return the order of the axes, and which of them to flip then, to come closest to RAS.

    Nothing is resampled: an oblique volume stays oblique.
    """
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    rotation = left @ right
    order = max(
        permutations(range(3)),
        key=lambda axes: sum(abs(rotation[to, axis]) for to, axis in enumerate(axes)),
    )
    return list(order), [to for to, axis in enumerate(order) if rotation[to, axis] < 0]


def box_around(
    region: NDArray[np.bool_], shape: tuple[int, ...]
) -> tuple[slice, slice, slice] | None:
    """Where the region lies in a volume of `shape` that it shows smaller or larger; with margin.

    None when no plane holds enough of it.
    """
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(region.mean(axis=others) > LEAST_OF_PLANE)
        if not planes.size:
            return None
        first, end = planes[0], planes[-1] + 1
        scale = shape[axis] / region.shape[axis]
        centre = np.rint(scale * (first + end) / 2)
        length = np.rint(scale * (end - first) * (1 + 2 * MARGIN))
        sides.append(
            slice(max(0, int(centre - length / 2)), min(shape[axis], int(centre + length / 2)))
        )
    return sides[0], sides[1], sides[2]


def largest_region(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest region of the mask; an empty mask stays empty."""
    labels, count = ndimage.label(mask, _TOUCHING)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    largest: NDArray[np.bool_] = labels == 1 + int(sizes[1:].argmax())
    return largest


def one_region(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities in which what reaches `SURE` is one region without holes."""
    sure = probability > SURE
    region = largest_region(sure)
    kept = np.where(sure & ~region, np.float32(0), probability)
    # Values of exactly SURE count for a caller that compares with >=.
    kept[probability == SURE] = 0
    kept[ndimage.binary_fill_holes(region) & ~region] = 1
    return kept


def _resized(volume: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return interpolate(volume[None, None], shape, mode="nearest-exact")[0, 0]


def _grey(volume: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> Any:
    scaled = ((volume - low) / (high - low)).clamp(0, 1)
    return SPREAD * (scaled - scaled.mean()) / scaled.std() + MEAN
