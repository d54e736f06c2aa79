"""Trains the network of the bundle `breast_dce_phantom` on simulated studies.

    python -m infra.phantom.train

Network and preprocessing come out of the bundle's own inference.json, so that what is trained
is what runs. Only the seeds of `splits.TRAIN` are seen. After a first stage it learns from
the mistakes that it makes on the same studies.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandScaleIntensityd,
    SelectItemsd,
)
from monai.utils import set_determinism

from infra.phantom.bundle import BUNDLE, parse_bundle
from infra.phantom.prepared import Prepared, mine, prepare
from infra.phantom.splits import train_cases

#: Training patches in voxels of the network's grid, 1.25 x 1.25 x 2 mm: 80 x 80 x 64 mm.
PATCH: Final = (64, 64, 32)
#: Patches for each step, and how many of each study that is read.
BATCH: Final = (4, 1)
#: Logit that the untrained network starts from: 2 % of the voxels of a patch.
PRIOR_LOGIT: Final = -4.0
SEED: Final = 20


def patches(items: list[Prepared], steps: int) -> Iterator[dict[str, Any]]:
    """Yield `steps` batches of augmented patches."""
    studies, crops = BATCH
    transform = Compose(
        [
            Prepared.load,
            RandCropByPosNegLabeld(
                keys=["image", "label"],
                label_key="label",
                spatial_size=PATCH,
                pos=1,
                neg=1,
                num_samples=crops,
                fg_indices_key="tumour",
                bg_indices_key="tissue",
            ),
            SelectItemsd(keys=["image", "label"]),
            EnsureTyped(keys=["image", "label"], dtype=torch.float32, track_meta=False),
            # Left and right breasts are alike; turning upside down is no longer anatomy.
            RandFlipd(keys=["image", "label"], prob=0.5, spatial_axis=0),
            RandScaleIntensityd(keys="image", factors=0.15, prob=0.5),
        ]
    )
    dataset = Dataset(items, transform=transform)
    loader = DataLoader(dataset, batch_size=studies, shuffle=True, drop_last=True)
    done = 0
    while True:
        for batch in loader:
            if done == steps:
                return
            done += 1
            yield batch


def fit(network: torch.nn.Module, items: list[Prepared], steps: int, rate: float) -> None:
    """Train in place for `steps` with a learning rate that rises to `rate` and falls to 0."""
    criterion = DiceCELoss(sigmoid=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=rate, total_steps=steps, pct_start=0.1
    )
    network.train()
    started, mean = time.monotonic(), 1.0
    for step, batch in enumerate(patches(items, steps)):
        image = batch["image"].to(memory_format=torch.channels_last_3d)
        loss = criterion(network(image), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean = 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            elapsed = (time.monotonic() - started) / 60
            print(f"step {step} loss {mean:.3f} after {elapsed:.1f} min", flush=True)
    network.eval()


def set_prior(network: torch.nn.Module) -> None:
    """Start from "hardly any voxel is tumour": that saves the first hundreds of steps."""
    *_, (last, bias) = network.named_parameters()
    if not last.endswith("bias"):
        raise ValueError(f"the network does not end with a bias but with {last}")
    torch.nn.init.constant_(bias, PRIOR_LOGIT)


def main() -> None:
    """Simulate, train, and write models/model.pt."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cache", type=Path, default=Path("var/phantom-training"))
    options.add_argument("--steps", type=int, default=1500)
    options.add_argument("--mined-steps", type=int, default=700)
    options.add_argument("--rounds", type=int, default=1, help="of learning from mistakes")
    options.add_argument("--resume", type=Path, help="weights after the first stage")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--out", type=Path, default=BUNDLE / "models/model.pt")
    given = options.parse_args()
    # One study in eight is empty on purpose; its patches need no warning each.
    warnings.filterwarnings("ignore", message="Num foregrounds 0")
    given.cache.mkdir(parents=True, exist_ok=True)
    cases = train_cases()
    started = time.monotonic()
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        paths = list(pool.map(prepare, cases, [given.cache] * len(cases)))
    print(f"{len(paths)} studies ready after {(time.monotonic() - started) / 60:.1f} min")
    set_determinism(SEED)
    network = parse_bundle().get_parsed_content("network")
    print(f"{sum(p.numel() for p in network.parameters())} parameters")
    items = [Prepared(path, np.load(path / "tissue.npy")) for path in paths]
    if given.resume:
        network.load_state_dict(torch.load(given.resume, weights_only=True))
        network.eval()
    else:
        set_prior(network)
        fit(network, items, given.steps, 5e-3)
    for _ in range(given.rounds):
        items = [mine(network, item) for item in items]
        print(f"{sum(len(item.tissue) for item in items)} centres after mining", flush=True)
        fit(network, items, given.mined_steps, 2e-3)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    torch.save(state, given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
