"""The MONAI bundles of this lab: what they need, what they mark, and which bytes they are.

A bundle is code, so it comes from a directory that the operator chose and never from a message.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from messages.envelope import MAX_BODY_BYTES
from messages.lab import MAX_MODELS, ModelDescriptor

#: Directories of a bundle that decide a result; its documents may change without a new hash.
_HASHED = ("configs", "models", "scripts")

#: Files of weights that a result names: 100 bytes each, and a SEG has room for 10 KB (VR LT).
MAX_WEIGHTS = 16

#: What the zoo's bundles, and others, call the channel of what is no finding.
BACKGROUND = "background"

#: Bytes that a description may have: it travels in one message, beside some hundred of others.
_MAX_DESCRIPTION_BYTES = MAX_BODY_BYTES - 1024


class BundleInvalid(Exception):
    """A directory is no bundle that we can run. The text names the file and the fault."""


class Code(NamedTuple):
    """A coded term: value, coding scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class ResultCodes:
    """What a marked voxel is, as SEG and report say it."""

    #: Category of the segment: CID 7150 Segmentation Property Category.
    category: Code
    #: Type of the segment, and the finding of the reports: CID 7151, CID 7159.
    type: Code
    #: Anatomic region and finding site: CID 4 Anatomic Region.
    site: Code
    #: Procedure reported: CID 6028, reached from CID 100, which may be extended.
    procedure: Code


#: What a bundle marks that does not say it.
TUMOR = ResultCodes(
    category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
    type=Code("108369006", "SCT", "Neoplasm"),
    site=Code("76752008", "SCT", "Breast"),
    procedure=Code("241615005", "SCT", "MRI of breast"),
)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk and the description that the clinic gets of it."""

    path: Path
    descriptor: ModelDescriptor
    #: What SEG and report call the marked voxels; the lab's alone, so it does not travel.
    codes: ResultCodes = TUMOR
    #: Role of the phase on which a result is read; empty where the bundle does not name it.
    reading_phase: str = ""
    #: (file, SHA-256) of the weights, for the results' provenance.
    weights_sha256: tuple[tuple[str, str], ...] = ()

    @property
    def findings(self) -> tuple[int, ...]:
        """Channels of `outputs.pred` that mark something, by the names that the metadata gives."""
        return tuple(
            number
            for number, label in enumerate(self.descriptor.labels)
            if label.strip().lower() != BACKGROUND
        )

    @property
    def config_file(self) -> Path:
        """The inference configuration."""
        return self.path / "configs" / "inference.json"

    @property
    def meta_file(self) -> Path:
        """The metadata: roles, labels, version, intended use."""
        return self.path / "configs" / "metadata.json"


def sha256_of(path: Path) -> str:
    """Hash of the bundle's deciding files: their relative names and contents, sorted by name."""
    digest = hashlib.sha256()
    files = sorted(
        file
        for part in _HASHED
        for file in (path / part).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    )
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(path).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _channels(metadata: dict[str, Any], side: str, name: str) -> tuple[str, ...]:
    # MONAI bundle specification: network_data_format.<side>.<name>.channel_def is {"0": ...}.
    channels = metadata["network_data_format"][side][name]["channel_def"]
    return tuple(channels[key] for key in sorted(channels, key=int))


def _codes(metadata: dict[str, Any]) -> ResultCodes:
    # Ours, not MONAI's: {"type": ["12738006", "SCT", "Brain"], …}. All four or none: half of it
    # would be a brain in an MRI of the breast.
    own: dict[str, Any] | None = metadata.get("result_codes")
    if own is None:
        return TUMOR
    for name, code in own.items():
        # As long as SH and LO allow (PS3.5); a longer value is another kind of element.
        limits = (16, 16, 64)
        if len(code) != len(limits) or not all(map(_fits, code, limits)):
            raise ValueError(f"result_codes.{name}")
    return ResultCodes(**{name: Code(*code) for name, code in own.items()})


def _fits(text: Any, limit: int) -> bool:
    return isinstance(text, str) and 0 < len(text) <= limit


def _reading_phase(path: Path, metadata: dict[str, Any], roles: tuple[str, ...]) -> str:
    # Ours, not MONAI's: {"reading_phase": "post1"}.
    if "reading_phase" not in metadata:
        return ""
    role = metadata["reading_phase"]
    if not isinstance(role, str) or role not in roles:
        raise BundleInvalid(
            f"{path}: reading_phase in configs/metadata.json is none of the model's phases: "
            f"{', '.join(roles)}"
        )
    return role


def _check_pinned(path: Path, metadata: dict[str, Any]) -> None:
    """Raise `BundleInvalid` unless the weights are those that the bundle names, if it names any.

    For weights that are fetched: what arrives must be what was tried.
    """
    for name, wanted in metadata.get("weights_sha256", {}).items():
        if not (path / name).is_file():
            raise BundleInvalid(f"{path}: {name} is missing; docs/README.md says where it is from")
        if hashlib.sha256((path / name).read_bytes()).hexdigest() != wanted:
            raise BundleInvalid(f"{path}: {name} is not the file that the bundle was made for")


def _weights(path: Path) -> tuple[tuple[str, str], ...]:
    """The files of ``models``; of very many the largest, for a result has to state them."""
    files = [file for file in (path / "models").rglob("*") if file.is_file()]
    largest = sorted(files, key=lambda file: -file.stat().st_size)[:MAX_WEIGHTS]
    return tuple(
        (file.relative_to(path).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(largest)
    )


def read_bundle(path: Path) -> Bundle:
    """Describe the bundle in `path`. Raises `BundleInvalid`."""
    for needed in ("configs/metadata.json", "configs/inference.json"):
        if not (path / needed).is_file():
            raise BundleInvalid(f"{path} is no bundle: {needed} is missing")
    try:
        metadata = json.loads((path / "configs" / "metadata.json").read_text(encoding="utf-8"))
        descriptor = ModelDescriptor(
            name=path.name,
            version=metadata["version"],
            sha256=sha256_of(path),
            roles=_channels(metadata, "inputs", "image"),
            labels=_channels(metadata, "outputs", "pred"),
            notice=metadata.get("intended_use", ""),
        )
        codes = _codes(metadata)
        reading_phase = _reading_phase(path, metadata, descriptor.roles)
        _check_pinned(path, metadata)
    except (json.JSONDecodeError, UnicodeDecodeError) as exc:
        raise BundleInvalid(f"{path}: configs/metadata.json is not JSON") from exc
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        # ValidationError is a ValueError; its text may be long, its fields are enough.
        fields = (
            ", ".join(str(error["loc"][0]) for error in exc.errors())
            if isinstance(exc, ValidationError)
            else str(exc)
        )
        raise BundleInvalid(f"{path}: configs/metadata.json lacks or misstates {fields}") from exc
    size = len(descriptor.model_dump_json().encode())
    if size > _MAX_DESCRIPTION_BYTES:
        raise BundleInvalid(
            f"{path}: the labels in configs/metadata.json are {size} bytes long, more than the "
            f"{_MAX_DESCRIPTION_BYTES} that the site can be told"
        )
    return Bundle(
        path=path,
        descriptor=descriptor,
        codes=codes,
        reading_phase=reading_phase,
        weights_sha256=_weights(path),
    )


def find_bundles(model_path: Path) -> dict[str, Bundle]:
    """Bundles by name under `model_path`, which is a bundle or a folder of bundles.

    Raises `BundleInvalid` when there is none, or when one of them cannot be described.
    """
    if (model_path / "configs").is_dir():
        paths = [model_path]
    elif model_path.is_dir():
        paths = sorted(p for p in model_path.iterdir() if (p / "configs").is_dir())
    else:
        paths = []
    if not paths:
        raise BundleInvalid(f"MODEL_PATH={model_path} holds no MONAI bundle")
    if len(paths) > MAX_MODELS:
        raise BundleInvalid(
            f"MODEL_PATH={model_path} holds {len(paths)} bundles; one lab serves {MAX_MODELS}"
        )
    bundles = [read_bundle(path.resolve()) for path in paths]
    return {bundle.descriptor.name: bundle for bundle in bundles}
