"""What dciodvfy (Debian: dicom3tools) finds wrong with an object."""

from __future__ import annotations

import subprocess
from pathlib import Path


def dicom_errors(data: bytes, tmp_path: Path) -> list[str]:
    file = tmp_path / "object.dcm"
    file.write_bytes(data)
    done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any(line in {"Segmentation", "ComprehensiveSR"} for line in lines), lines
    return [line for line in lines if line.startswith("Error")]
