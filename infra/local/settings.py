"""The environment of the private nodes and of the set-up, read here and nowhere else.

Standard library only: the set-up reads it before anything is installed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: The checkout: two levels above this package.
REPOSITORY = Path(__file__).resolve().parents[2]

#: Where the demo keeps data, logs and passwords.
VAR = REPOSITORY / "var"

#: Variables that a child process of ours may see. RABBITMQ_*, ERL_* and ORTHANC_* of the user's
#: shell are left out on purpose: they would redirect a private node to another node's files.
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SERVERS_ROOT")


class SettingsError(Exception):
    """A variable holds a value that cannot be used; the text is one sentence for the user."""


#: What one may want to try in the demo's lab.
OF_LAB = ("KEY_SLICES", "MIN_LESION_MM3", "THRESHOLD")


@dataclass(frozen=True)
class LocalSettings:
    """Ports of the private nodes and the choice of the torch build."""

    #: The site.
    web_port: int = 8000
    #: AMQP; not 5672, so that a RabbitMQ of the machine is not in the way.
    amqp_port: int = 5673
    #: Erlang distribution of the private broker: rabbitmqctl talks to it.
    rabbit_dist_port: int = 25673
    #: The private port mapper; not 4369, which belongs to the machine's own.
    epmd_port: int = 4370
    #: HTTP of the private Orthanc; not 8042, for the same reason.
    orthanc_port: int = 8043
    #: Where the demo's lab computes: cpu, cuda or cuda:<n>.
    device: str = "cpu"
    #: Settings of the demo's lab that are passed on as they are: it checks them.
    lab: Mapping[str, str] = field(default_factory=dict)
    #: What pip is asked for to get torch.
    torch_requirement: str = "torch==2.13.0"
    #: A further package index for torch alone, e.g. one with CPU builds; empty: none.
    torch_index: str = ""


def load(environment: Mapping[str, str] | None = None) -> LocalSettings:
    """Read the settings from the environment; `SettingsError` names a value that is no port."""
    source = _environment() if environment is None else environment
    default = LocalSettings()
    return LocalSettings(
        web_port=_port(source, "WEB_PORT", default.web_port),
        amqp_port=_port(source, "AMQP_PORT", default.amqp_port),
        rabbit_dist_port=_port(source, "RABBIT_DIST_PORT", default.rabbit_dist_port),
        epmd_port=_port(source, "EPMD_PORT", default.epmd_port),
        orthanc_port=_port(source, "ORTHANC_PORT", default.orthanc_port),
        device=source.get("DEVICE") or default.device,
        lab={name: source[name] for name in OF_LAB if source.get(name)},
        torch_requirement=source.get("TORCH_REQUIREMENT") or default.torch_requirement,
        torch_index=source.get("TORCH_INDEX", default.torch_index),
    )


def servers_root(environment: Mapping[str, str] | None = None) -> Path | None:
    """The Debian whose broker and archive are started (SERVERS_ROOT); None: this machine's.

    Raises `SettingsError` when there is no such system.
    """
    source = _environment() if environment is None else environment
    text = source.get("SERVERS_ROOT", "")
    if not text:
        return None
    root = Path(text).resolve()
    if not (root / "usr").is_dir():
        raise SettingsError(
            f"SERVERS_ROOT must be the root directory of a Debian, not {text!r}; "
            "make newer-servers makes some"
        )
    return root


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a small environment for a child process: `PASSED_ON` from ours, then `extra`."""
    source = _environment()
    passed = {name: source[name] for name in PASSED_ON if name in source}
    return {"PATH": os.defpath, **passed, **(extra or {})}


def _environment() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 - this is a settings module


def _port(source: Mapping[str, str], variable: str, default: int) -> int:
    text = source.get(variable, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"{variable} must be a port number from 1 to 65535, not {text!r}")
    return int(text)
