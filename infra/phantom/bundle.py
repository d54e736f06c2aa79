"""The bundle `breast_dce_phantom`: its parts for training, and the whole of it for measuring."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.data import MetaTensor
from numpy.typing import NDArray

from infra.phantom.study import PhantomStudy

BUNDLE: Final = Path(__file__).parents[2] / "consumer/bundles/breast_dce_phantom"


def parse_bundle() -> ConfigParser:
    """Read the bundle's inference.json, ready to instantiate its parts."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs/inference.json"))
    parser["bundle_root"] = str(BUNDLE)
    parser.parse()
    return parser


class BundleRunner:
    """Runs a bundle as the lab does: initialised once, one study after the other."""

    def __init__(self, bundle: Path, device: str = "cpu") -> None:
        self._workflow: Any = ConfigWorkflow(
            config_file=str(bundle / "configs/inference.json"),
            meta_file=str(bundle / "configs/metadata.json"),
            logging_file=False,
            workflow_type="infer",
            bundle_root=str(bundle),
            device=device,
        )
        self._workflow.add_property("dataflow", required=True, config_id="dataflow")
        self._workflow.initialize()

    def probabilities(self, study: PhantomStudy) -> NDArray[np.float32]:
        """Return (slices, rows, cols) on the study's own grid."""
        image = MetaTensor(torch.from_numpy(study.phases), affine=torch.from_numpy(study.affine))
        self._workflow.dataflow.clear()
        self._workflow.dataflow.update({"image": image})
        self._workflow.run()
        found: NDArray[np.float32] = self._workflow.dataflow["pred"][0].numpy()
        self._workflow.dataflow.clear()
        return found
