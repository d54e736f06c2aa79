"""Two independent readers of the same files: SimpleITK, and dcm2niix, which knows mosaics.

Each yields volumes with a map from (slice, row, column) to millimetres in the patient (LPS).
SimpleITK runs in a process of its own, since a decoder may hang, crash or take all memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as TooSlow
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pebble import ProcessExpired, ProcessPool

from infra.local.settings import child_environment

#: Seconds and bytes for one reading.
READER_SECONDS = 120.0
_MEMORY_BYTES = 4 * 1024**3

_DCM2NIIX = Path("/usr/bin/dcm2niix")


@dataclass(frozen=True)
class Volume:
    """One volume of a reader: voxels (slice, row, column) and where they lie."""

    voxels: np.ndarray
    #: 4x4, (slice, row, column, 1) -> (x, y, z, 1) in mm, LPS; None where the reader has none.
    affine: np.ndarray | None


class CannotRead(Exception):
    """The reader makes nothing of the files; the text is half a sentence."""


class SimpleItk:
    """SimpleITK in a process that may be killed."""

    def __init__(self) -> None:
        self._pool = ProcessPool(
            max_workers=1,
            context=multiprocessing.get_context("spawn"),
            initializer=_confined,
        )

    def volumes(self, paths: Sequence[Path], *, several_frames: bool) -> list[Volume]:
        """Classic images as one series, each multi-frame object by itself. Raises `CannotRead`."""
        with _folder_of(paths) as folder, tempfile.TemporaryDirectory() as into:
            asked = self._pool.schedule(
                _read_by_itk, (str(folder), into, several_frames), timeout=READER_SECONDS
            )
            try:
                affines = asked.result()
            except TooSlow:
                raise CannotRead("takes too long") from None
            except ProcessExpired:
                raise CannotRead("crashes") from None
            except MemoryError:
                raise CannotRead("takes too much memory") from None
            except Exception as exc:  # noqa: BLE001 - ITK raises RuntimeError, and others
                raise CannotRead(_reason(str(exc))) from None
            return [
                Volume(np.load(Path(into) / f"{number}.npy"), affine)
                for number, affine in enumerate(affines)
            ]

    def stop(self) -> None:
        """End the process."""
        self._pool.stop()
        self._pool.join()


def has_dcm2niix() -> bool:
    """Whether the program is installed."""
    return _DCM2NIIX.is_file()


def dcm2niix_version() -> str:
    """Its version."""
    done = subprocess.run(
        (str(_DCM2NIIX), "--version"), capture_output=True, text=True, check=False
    )
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def dcm2niix_volumes(paths: Sequence[Path]) -> list[Volume]:
    """Every volume that dcm2niix writes of the files. Raises `CannotRead`.

    Without Philips' private scaling (``-p n``), which is no rescale of PS3.3, and without merging
    (``-m n``): what it takes for two things stays two.
    """
    with _folder_of(paths) as folder, tempfile.TemporaryDirectory() as into:
        options = ("-b", "n", "-z", "n", "-p", "n", "-m", "n", "-f", "%s_%d_%e_%t_%r")
        command = (str(_DCM2NIIX), *options, "-o", into, str(folder))
        try:
            done = subprocess.run(
                command,
                env=child_environment(),
                capture_output=True,
                check=False,
                timeout=READER_SECONDS,
                preexec_fn=_confined,
            )
        except subprocess.TimeoutExpired:
            raise CannotRead("takes too long") from None
        files = sorted(Path(into).glob("*.nii"))
        if not files:
            raise CannotRead(f"makes no image (exit status {done.returncode})")
        return [volume for file in files for volume in _nifti(file)]


def _confined() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _folder_of(paths: Sequence[Path]) -> Iterator[Path]:
    """A folder with links to just these files."""
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(paths):
            (Path(folder) / f"{number:05}.dcm").symlink_to(path.resolve())
        yield Path(folder)


def _read_by_itk(folder: str, into: str, several_frames: bool) -> list[np.ndarray | None]:
    """In the process: arrays into files, their maps as the answer."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageSeriesReader()
    files = sorted(str(path) for path in Path(folder).iterdir())
    groups: list[list[str]] = [[file] for file in files]
    if not several_frames:
        known = reader.GetGDCMSeriesIDs(folder)
        groups = [list(reader.GetGDCMSeriesFileNames(folder, one)) for one in known]
    affines = []
    for number, names in enumerate(groups):
        if len(names) == 1:
            image = SimpleITK.ReadImage(names[0])
        else:
            reader.SetFileNames(names)
            image = reader.Execute()
        array = SimpleITK.GetArrayFromImage(image)
        if array.ndim == 2:
            array = array[None]
        np.save(Path(into) / f"{number}.npy", array)
        affines.append(_itk_affine(image) if image.GetDimension() == 3 else None)
    return affines


def _itk_affine(image: object) -> np.ndarray:
    spacing = np.array(image.GetSpacing())  # type: ignore[attr-defined]
    direction = np.array(image.GetDirection()).reshape(3, 3)  # type: ignore[attr-defined]
    affine = np.eye(4)
    # ITK counts column, row, slice.
    affine[:3, :3] = (direction * spacing)[:, ::-1]
    affine[:3, 3] = image.GetOrigin()  # type: ignore[attr-defined]
    return affine


#: NIfTI-1 (nifti1.h): data type -> numpy's.
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    128: "u1",
    32: "c8",
}


def _nifti(path: Path) -> list[Volume]:
    """The volumes of an uncompressed NIfTI-1 file, rescaled."""
    data = path.read_bytes()
    head = data[:352]
    dim = np.frombuffer(head, "<i2", 8, 40)
    kind = int(np.frombuffer(head, "<i2", 1, 70)[0])
    offset = int(np.frombuffer(head, "<f4", 1, 108)[0])
    slope, intercept = (float(value) for value in np.frombuffer(head, "<f4", 2, 112))
    sform = np.frombuffer(head, "<f4", 12, 280).reshape(3, 4).astype(float)
    columns, rows, slices = (max(int(n), 1) for n in dim[1:4])
    several = int(np.prod([max(int(n), 1) for n in dim[4 : int(dim[0]) + 1]])) if dim[0] > 3 else 1
    if kind not in _TYPES or _TYPES[kind] == "c8":
        raise CannotRead(f"writes another kind of values ({kind})")
    # Colour (128) holds three values for each voxel; no grey image of ours is one.
    values = 3 if kind == 128 else 1
    count = columns * rows * slices * several * values
    array = np.frombuffer(data, f"<{_TYPES[kind]}", count, offset)
    array = array.reshape(several, slices, rows, columns * values)
    affine = np.eye(4)
    affine[:3, :3] = sform[:, 2::-1]
    affine[:3, 3] = sform[:, 3]
    # RAS to LPS.
    affine[:2] *= -1
    scaled = slope not in (0.0, 1.0) or intercept != 0.0
    return [
        Volume(one.astype(np.float64) * slope + intercept if scaled else one, affine)
        for one in array
    ]


def _reason(text: str) -> str:
    """What ITK says, without paths: the last line names the fault."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else "fails"
    return f"fails ({last.rpartition('): ')[2][:80]})" if "/" not in last else "fails"
