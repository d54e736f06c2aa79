"""The Debian packages that the demo and the tests need, and how they are installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

#: Package -> a file that shows it is there. Files, not dpkg's list: fast, and true for a broker or
#: an archive that came another way.
DEMO_PACKAGES = {
    "rabbitmq-server": "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "orthanc": "/usr/sbin/Orthanc",
    "orthanc-dicomweb": "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
}

TEST_PACKAGES = DEMO_PACKAGES | {
    "chromium": "/usr/bin/chromium",
    "fonts-noto-cjk": "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "dcmtk": "/usr/bin/dcmdump",
    "dicom3tools": "/usr/bin/dciodvfy",
    "gettext": "/usr/bin/msgfmt",
    "systemd": "/usr/bin/systemd-analyze",
    "npm": "/usr/bin/npm",
    "postgresql": "/usr/lib/postgresql/15/bin/postgres",
    "faketime": "/usr/bin/faketime",
    "nginx": "/usr/sbin/nginx",
}

#: Holds ensurepip, without which `python3.11 -m venv` makes no environment.
VENV_PACKAGE = "python3.11-venv"

#: Debian starts a service as it installs it, and enables it for the next boot: a RabbitMQ and an
#: Orthanc on all addresses, a PostgreSQL and an nginx, that nobody asked for. While
#: /usr/sbin/policy-rc.d answers 101, nothing is started. A policy of the machine itself is left
#: alone; ours is recognized by its second line, so that one left behind by a killed set-up goes as
#: well. Afterwards the services that came with this call are disabled; whoever had them before
#: keeps them as they were.
APT_SCRIPT = r"""
set -eu
policy=/usr/sbin/policy-rc.d
mark='# labrelay set-up: nothing is started while packages are installed'
if [ -e "$policy" ] && [ "$(sed -n 2p "$policy")" = "$mark" ]; then rm -f "$policy"; fi
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends "$@"
if command -v systemctl > /dev/null; then
    for package in "$@"; do
        case "$package" in
            rabbitmq-server | orthanc | postgresql | nginx) systemctl disable "$package" || true ;;
        esac
    done
fi
"""


def missing_packages(
    extra: str, *, with_venv: bool = False, root: Path = Path("/")
) -> tuple[str, ...]:
    """Return the packages that `extra` (demo or test) needs and `root` does not have."""
    wanted: Mapping[str, str] = TEST_PACKAGES if extra == "test" else DEMO_PACKAGES
    missing = [name for name, file in wanted.items() if not (root / file.lstrip("/")).exists()]
    return (*missing, VENV_PACKAGE) if with_venv else tuple(missing)


def apt_command(packages: Sequence[str]) -> str:
    """Return the command line that installs them by hand."""
    return f"sudo apt-get install {' '.join(packages)}"
