"""Runs a bundle on volumes. Lives in the segmenter child: torch and MONAI, no pydicom.

The main process imports this module for its names only, so torch and MONAI are imported inside
the functions.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from consumer.bundle import BACKGROUND, Bundle, sha256_of
from consumer.errors import ModelFailed, ModelUnavailable, OutOfMemory
from consumer.memory import create_array, open_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    from monai.bundle import ConfigWorkflow
    from torch import Tensor

#: LPS (DICOM, PS3.3 C.7.6.2.1.1) to RAS (MONAI, NIfTI): the first two axes change sign.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

#: How far a probability may lie outside of 0 to 1: interpolation in half precision rounds.
_ROUNDING = 1e-3

#: Bundles that this process has initialized, by name.
_workflows: dict[str, ConfigWorkflow] = {}


@dataclass(frozen=True)
class SegmentationJob:
    """What the segmenter needs; the arrays lie in memory files of the main process."""

    bundle: Bundle
    device: str
    #: float32 of `shape`.
    volumes_path: str
    #: Becomes uint8 of `shape` without the roles: (slices, rows, columns).
    mask_path: str
    #: (roles, slices, rows, columns)
    shape: tuple[int, int, int, int]
    #: 4 x 4: (slice, row, column, 1) -> patient coordinates in mm, LPS.
    affine_lps: tuple[tuple[float, ...], ...]
    threshold: float


@dataclass(frozen=True)
class DeviceFacts:
    """What torch sees of a device, for the checklist."""

    usable: bool
    text: str
    #: What makes it usable; empty when it is.
    fix: str = ""


def start() -> None:
    """Initialise the child. What libraries and bundles log may quote data: none of it goes out."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def look_at(device: str) -> DeviceFacts:
    """Return whether torch can use the device now: ``cpu``, ``cuda`` or ``cuda:<n>``."""
    import torch

    if not device.startswith("cuda"):
        return DeviceFacts(usable=True, text=f"{device}, {torch.get_num_threads()} threads")
    if torch.version.cuda is None:
        return DeviceFacts(
            usable=False,
            text=f"torch {torch.__version__} is a build without CUDA",
            fix="install a CUDA build (docs/installation.md), or set DEVICE=cpu",
        )
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = torch.device(device).index or 0
    if number >= count:
        return DeviceFacts(
            usable=False,
            text=f"torch sees {count} GPUs",
            fix="nvidia-smi must show the GPU to this user: install the NVIDIA driver, "
            "correct DEVICE or CUDA_VISIBLE_DEVICES",
        )
    free, total = (part / 1024**3 for part in torch.cuda.mem_get_info(number))
    name = torch.cuda.get_device_name(number)
    return DeviceFacts(usable=True, text=f"{name}, {free:.0f} of {total:.0f} GiB free")


def load_all(bundles: Iterable[Bundle], device: str) -> None:
    """Initialize every bundle, so that no job waits for it. Raises `ModelUnavailable`."""
    for bundle in bundles:
        load(bundle, device)


def load(bundle: Bundle, device: str) -> ConfigWorkflow:
    """Initialize the bundle, once in the life of this process.

    Raises `ModelUnavailable` when its files are not those that the lab announced at its start,
    when it declares other than one finding, or when MONAI cannot build it, and `OutOfMemory`.
    """
    import torch
    from monai.bundle import ConfigWorkflow

    name = bundle.descriptor.name
    if name in _workflows:
        return _workflows[name]
    finding_channel(bundle)
    if sha256_of(bundle.path) != bundle.descriptor.sha256:
        raise ModelUnavailable(f"the files of bundle {name} changed since the lab started")
    try:
        workflow = ConfigWorkflow(
            config_file=str(bundle.config_file),
            meta_file=str(bundle.meta_file),
            logging_file=False,
            workflow_type="infer",
            bundle_root=str(bundle.path),
            device=f"$torch.device('{torch.device(device)}')",
        )
        # MONAI's way to hand a bundle its data and take its answer; no property by default.
        workflow.add_property("dataflow", required="True", config_id="dataflow")
        workflow.initialize()
        _ = workflow.dataflow
    except Exception as exc:
        # A bundle is foreign code: whatever else it raises means that it cannot be used.
        if _found_no_memory(exc):
            raise OutOfMemory(f"bundle {name} on {device}") from exc
        raise ModelUnavailable(
            f"bundle {name} cannot be loaded", raised=type(exc).__name__
        ) from exc
    _workflows[name] = workflow
    return workflow


def finding_channel(bundle: Bundle) -> int:
    """Index of the channel that holds the finding, by the names that the metadata gives.

    A softmax over background and finding has two channels, a sigmoid one. Raises
    `ModelUnavailable` for none or several findings: which of them a result is would be a guess.
    """
    if len(bundle.findings) != 1:
        raise ModelUnavailable(
            f"bundle {bundle.descriptor.name} declares {len(bundle.findings)} findings in "
            f"channel_def of outputs.pred; a result holds one, beside a channel named {BACKGROUND}"
        )
    return bundle.findings[0]


def segment(job: SegmentationJob) -> None:
    """Write 1 into the mask where the finding's probability reaches the threshold, 0 elsewhere.

    Raises `OutOfMemory`, `ModelUnavailable` and, for what the bundle does, `ModelFailed`.
    """
    import torch
    from monai.data import MetaTensor

    name = job.bundle.descriptor.name
    workflow = load(job.bundle, job.device)
    channel = finding_channel(job.bundle)
    volumes = open_array(job.volumes_path, job.shape, np.float32)
    dataflow: dict[str, Any] = workflow.dataflow
    dataflow.clear()
    dataflow["image"] = MetaTensor(
        torch.from_numpy(np.array(volumes)), affine=_LPS_TO_RAS @ np.asarray(job.affine_lps)
    )
    try:
        workflow.run()
        mask = _mask_of(torch.as_tensor(dataflow["pred"]), job, channel)
    except ModelFailed:
        raise
    except Exception as exc:
        if _found_no_memory(exc):
            raise OutOfMemory(f"bundle {name} on {job.device}") from exc
        raise ModelFailed(
            f"bundle {name} raised an error on this input", raised=type(exc).__name__
        ) from exc
    finally:
        # No patient data stays in this process between two jobs.
        dataflow.clear()
    create_array(job.mask_path, job.shape[1:], np.uint8)[:] = mask


def _mask_of(prediction: Tensor, job: SegmentationJob, channel: int) -> npt.NDArray[np.uint8]:
    """1 where the finding's probability reaches the threshold. Raises `ModelFailed`."""
    import torch

    name, labels = job.bundle.descriptor.name, job.bundle.descriptor.labels
    expected = (len(labels), *job.shape[1:])
    if tuple(prediction.shape) != expected:
        raise ModelFailed(
            f"bundle {name} answered with shape {tuple(prediction.shape)}; its {len(labels)} "
            f"declared channels on the volume are {expected}"
        )
    probability = prediction[channel].float()
    if not torch.isfinite(probability).all():
        # NaN reaches no threshold: it would be reported as "nothing found".
        raise ModelFailed(f"bundle {name} answered with values that are no numbers")
    if probability.min() < -_ROUNDING or probability.max() > 1 + _ROUNDING:
        # A threshold of 0.5 cuts logits at a probability that nobody chose.
        raise ModelFailed(f"bundle {name} answered with values outside of 0 to 1: no probabilities")
    return (probability >= job.threshold).to(torch.uint8).cpu().numpy()


def _found_no_memory(error: BaseException) -> bool:
    """Whether that is what ended a bundle: a passing fault, and all others are not.

    MONAI raises a RuntimeError of its own around whatever an expression of the bundle raised.
    """
    import torch

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, torch.OutOfMemoryError | MemoryError):
            return True
        # torch has no type of its own for it on a CPU.
        if "can't allocate memory" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
