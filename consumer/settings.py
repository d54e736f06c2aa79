"""Settings of a lab. The only place of the consumer that reads the environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumer.logs import LogFormat
from messages.envelope import Name
from messages.identity import MAX_KEY_SLICES
from messages.topology import POOLS, VHOST

#: What the lab's children get of its environment, by name: where things lie, and how libraries
#: compute. A list of what is passed on and not of what is kept back: what else an installation has
#: there, such as passwords of other programs, nobody here can know.
_FOR_CHILDREN = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
        *("PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONPYCACHEPREFIX"),
        *("CUBLAS_WORKSPACE_CONFIG", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    }
)

#: The same by how a name begins: the libraries of the device, of threads and of models.
_FOR_CHILDREN_PREFIXES = (
    *("LC_", "CUDA_", "CUDNN_", "NVIDIA_", "NCCL_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_"),
    *("TRITON_", "MONAI_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "ITK_"),
    *("nnUNet_",),
)

#: Parts of a name that say what must not be passed on, however it begins.
_SECRETS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "API_KEY")


class SettingsInvalid(Exception):
    """A setting is missing or wrong. The text is one sentence; the start ends with it."""


class AnalysisSettings(BaseSettings):
    """What an analysis needs, with or without a broker; names as in the environment."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    orthanc_url: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")]
    orthanc_user: str = ""
    orthanc_password: SecretStr = SecretStr("")
    #: As in the permissions that the broker has for this lab; when not set, a lab is named after
    #: its AMQP user. A manual run has none.
    lab_name: Name = "manual"
    #: A bundle, or a folder of bundles.
    model_path: Path = Path(__file__).parent / "bundles"
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")] = "cpu"
    #: Probability from which a voxel counts as lesion, where the request names none.
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    #: Seconds that one inference may take before its process is killed.
    inference_timeout_seconds: Annotated[int, Field(ge=1)] = 1800
    #: Seconds that reading or packaging may take before its process is killed.
    reader_timeout_seconds: Annotated[int, Field(ge=1)] = 300
    #: Bytes of one series; a larger one is refused as too large.
    max_series_bytes: Annotated[int, Field(ge=1)] = 4 * 1024**3
    #: Bytes of all series of a request together; they lie in memory until it ends.
    max_request_bytes: Annotated[int, Field(ge=1)] = 8 * 1024**3
    #: Instances of one series; one with more is refused as too large, before it is downloaded. An
    #: ultrafast study of 60 phases with 200 slices each in one series has 12 000.
    max_series_instances: Annotated[int, Field(ge=1)] = 20_000
    #: Bytes of the volume that all phases make, 4 for each voxel: four phases of 1000 slices of
    #: 512 x 512.
    max_volume_bytes: Annotated[int, Field(ge=1)] = 4 * 1024**3
    #: Bytes of memory that the reading may take beside series, volume and libraries: the pixels of
    #: one phase twice, packed and unpacked.
    max_reader_bytes: Annotated[int, Field(ge=256 * 1024**2)] = 8 * 1024**3
    #: Volume in mm^3 below which a connected mark is no lesion: it is left out of the SEG, and the
    #: report says how many were. Ten is a ball of 2.7 mm, a few voxels; 0 keeps every mark.
    min_lesion_mm3: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    #: Pictures of slices with the outline burnt in that are stored with each result, for viewers
    #: that cannot show a SEG; 0 stores none.
    key_slices: Annotated[int, Field(ge=0, le=MAX_KEY_SLICES)] = 0
    #: Names, separated by commas, of what a bundle needs from the environment beside what its
    #: process gets anyway.
    child_environment: str = ""
    #: json for programs, text for a terminal, journal for systemd: text with a priority.
    log_format: LogFormat = "json"

    @field_validator("child_environment")
    @classmethod
    def _no_credentials(cls, names: str) -> str:
        for name in _names(names):
            if is_of_the_lab(name):
                raise ValueError(f"may not name {name}: the lab's children get no credentials")
        return names


class LabSettings(AnalysisSettings):
    """What an engineer sets on a lab machine; names as in the environment, in lower case."""

    #: One or several AMQP URLs, comma-separated; the user is this lab's own.
    rabbitmq_url: SecretStr
    lab_pool: Name = "lab"
    #: Deliveries held at a time, each with a job thread; the children work on one at a time.
    prefetch: Annotated[int, Field(ge=1, le=16)] = 1
    #: Seconds; the broker drops a connection after two to three of them without a sign of life. At
    #: 12 a frozen lab's work is another's within 36 s; at 15 it took up to 45.
    amqp_heartbeat: Annotated[int, Field(ge=1, le=600)] = 12
    #: Seconds that running jobs get when the lab is asked to stop.
    stop_grace_seconds: Annotated[int, Field(ge=0)] = 20
    #: Where a running lab lies as a file, for `mri-consumer drain` and a second lab of its name.
    run_dir: Annotated[Path, Field(default_factory=lambda: _run_directory())]  # noqa: PLW0108

    @field_validator("lab_pool")
    @classmethod
    def _known_pool(cls, pool: str) -> str:
        if pool not in POOLS:
            raise ValueError(f"must be one of {', '.join(POOLS)}")
        return pool

    @field_validator("rabbitmq_url")
    @classmethod
    def _broker_urls(cls, urls: SecretStr) -> SecretStr:
        parts = [urlsplit(url) for url in _split(urls)]
        whole = all(p.scheme in {"amqp", "amqps"} and p.hostname and p.username for p in parts)
        # `port` raises ValueError of its own where it is no number.
        if not parts or not whole or any(p.port == 0 for p in parts):
            raise ValueError(f"must look like amqp://user:password@host:5672/{VHOST}")
        if len({p.username for p in parts}) > 1:
            raise ValueError("must name the same user for every broker")
        return urls

    @model_validator(mode="before")
    @classmethod
    def _lab_named_after_its_user(cls, values: dict[str, object]) -> dict[str, object]:
        url = values.get("rabbitmq_url")
        user = urlsplit(url.split(",")[0].strip()).username if isinstance(url, str) else None
        return {"lab_name": unquote(user), **values} if user else values

    @property
    def broker_urls(self) -> tuple[str, ...]:
        """Each broker's URL, secrets included: never log them."""
        return _split(self.rabbitmq_url)

    @property
    def broker_user(self) -> str:
        """The AMQP user, which is also the ``user_id`` of what we publish."""
        return unquote(urlsplit(self.broker_urls[0]).username or "")


#: Settings that hold or lead to credentials of the lab.
_OF_THE_LAB = frozenset(
    {"RABBITMQ_URL", "ORTHANC_URL", "ORTHANC_USER", "ORTHANC_PASSWORD", "NOTIFY_SOCKET"}
)


def child_environment(more: str = "") -> dict[str, str]:
    """Return what a child of this lab gets for its environment: no credentials.

    `more` are further names, separated by commas: `AnalysisSettings.child_environment`.
    """
    asked = frozenset(_names(more))
    return {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - this is a settings module
        if name in asked or _is_for_children(name)
    }


def is_of_the_lab(name: str) -> bool:
    """Whether a name of the environment holds or leads to credentials of the lab."""
    return name.upper() in _OF_THE_LAB


def _is_for_children(name: str) -> bool:
    if any(word in name.upper() for word in _SECRETS):
        return False
    return name in _FOR_CHILDREN or name.startswith(_FOR_CHILDREN_PREFIXES)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run_directory() -> Path:
    """Give systemd's RuntimeDirectory, else the user's own, else the one for passing files."""
    given = os.environ.get("RUNTIME_DIRECTORY", "")  # noqa: TID251 - this is a settings module
    if given:
        return Path(given.split(":")[0])
    own = Path(f"/run/user/{os.getuid()}")
    return own if own.is_dir() else Path(tempfile.gettempdir())


def _split(urls: SecretStr) -> tuple[str, ...]:
    return tuple(url.strip() for url in urls.get_secret_value().split(",") if url.strip())


def load() -> LabSettings:
    """Read the environment. Raises `SettingsInvalid` with one sentence about the first fault."""
    with _one_sentence():
        return LabSettings()  # pyright: ignore[reportCallIssue]


def load_analysis(**options: object) -> AnalysisSettings:
    """The same for a manual run, which needs no broker; `options` win over the environment."""
    with _one_sentence():
        return AnalysisSettings(**options)  # type: ignore[arg-type]


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_input=False)[0]
        name = "_".join(str(part) for part in fault["loc"]).upper()
        reason = str(fault["msg"]).removeprefix("Value error, ")
        subject = f"The setting {name}" if name else "A setting"
        raise SettingsInvalid(f"{subject} is not usable: {reason}.") from None
