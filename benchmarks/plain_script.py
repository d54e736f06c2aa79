"""The peer of `benchmarks.stages`: the same analysis as one would write it in a plain script.

One GET per instance with requests, `highdicom.get_volume_from_series` for each series, MONAI's
ConfigWorkflow, a SEG by highdicom, one POST. No broker, no report, nothing read back. It uses
libraries only, and stays: bundle and libraries are loaded once.

Input, one line of JSON each: first `{"archive", "user", "password", "bundle"}`, answered by `{}`
when the bundle is loaded; then a list of Orthanc's series ids for each analysis, answered by its
seconds and voxels.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
import requests
import torch
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

#: Patient coordinates of DICOM (LPS) to those of MONAI (RAS).
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Script:
    """Keeps what stays between two analyses."""

    def __init__(self, archive: str, user: str, password: str, bundle: str) -> None:
        self._archive = archive
        self._session = requests.Session()
        self._session.auth = (user, password)
        self._workflow: Any = ConfigWorkflow(
            config_file=f"{bundle}/configs/inference.json",
            meta_file=f"{bundle}/configs/metadata.json",
            logging_file=False,
            workflow_type="infer",
            bundle_root=bundle,
        )
        self._workflow.add_property("dataflow", required=True, config_id="dataflow")
        self._workflow.initialize()

    def analyse(self, series_ids: Sequence[str]) -> dict[str, float]:
        """Seconds by part, `total` of one analysis, and `voxels` found."""
        seconds: dict[str, float] = {}

        @contextmanager
        def timed(part: str) -> Iterator[None]:
            began = time.perf_counter()
            yield
            seconds[part] = time.perf_counter() - began

        with timed("total"):
            with timed("download"):
                files = [self.download(one) for one in series_ids]
            with timed("read"):
                phases = [[dcmread(BytesIO(data)) for data in series] for series in files]
                volumes = [hd.get_volume_from_series(one, dtype=np.float32) for one in phases]
            with timed("infer"):
                mask = self.infer(volumes)
            with timed("package"):
                seg = segmentation(phases[0], volumes[0].with_array(mask))
            with timed("upload"):
                self.upload(seg)
        # The same with the header that keeps Orthanc from compressing each file.
        self._session.headers["Accept-Encoding"] = "identity"
        with timed("download, uncompressed"):
            for one in series_ids:
                self.download(one)
        self._session.headers["Accept-Encoding"] = requests.utils.default_headers()[
            "Accept-Encoding"
        ]
        return {**seconds, "voxels": int(mask.sum())}

    def download(self, series_id: str) -> list[bytes]:
        """One GET for each instance of a series."""
        listed = self._session.get(f"{self._archive}/series/{series_id}")
        listed.raise_for_status()
        return [self._file(instance) for instance in listed.json()["Instances"]]

    def _file(self, instance_id: str) -> bytes:
        answer = self._session.get(f"{self._archive}/instances/{instance_id}/file")
        answer.raise_for_status()
        return answer.content

    def infer(self, volumes: Sequence[hd.Volume]) -> NDArray[np.uint8]:
        """Mask (slices, rows, columns) by the bundle."""
        phases = np.stack([volume.array for volume in volumes])
        dataflow = self._workflow.dataflow
        dataflow.clear()
        dataflow["image"] = MetaTensor(
            torch.from_numpy(phases), affine=LPS_TO_RAS @ volumes[0].affine
        )
        self._workflow.run()
        found = torch.as_tensor(dataflow["pred"])[0] >= 0.5
        dataflow.clear()
        mask: NDArray[np.uint8] = found.to(torch.uint8).cpu().numpy()
        return mask

    def upload(self, seg: hd.seg.Segmentation) -> None:
        """Store the SEG."""
        buffer = BytesIO()
        seg.save_as(buffer)
        answer = self._session.post(f"{self._archive}/instances", data=buffer.getvalue())
        answer.raise_for_status()


def segmentation(images: Sequence[Dataset], mask: hd.Volume) -> hd.seg.Segmentation:
    """SEG of the mask on the first phase."""
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=1,
                segment_label="tumor",
                segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
                segmented_property_type=codes.SCT.Neoplasm,
                algorithm_type="AUTOMATIC",
                algorithm_identification=hd.AlgorithmIdentificationSequence(
                    name="bundle", family=codes.DCM.ArtificialIntelligence, version="1"
                ),
            )
        ],
        series_instance_uid=hd.UID(),
        series_number=950,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="plain script",
        manufacturer_model_name="plain script",
        software_versions="1",
        device_serial_number="1",
    )


def main() -> None:
    """Load, then analyse line by line."""
    script = Script(**json.loads(sys.stdin.readline()))
    print("answer {}", flush=True)
    for line in sys.stdin:
        print("answer", json.dumps(script.analyse(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
