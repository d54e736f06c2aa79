"""Private nodes out of another Debian: a directory whose RabbitMQ and Orthanc stand in for ours.

The programs run in a `chroot` with a mount namespace of its own, in which what must have the same
path on both sides lies where it lies here. The namespace goes with the program: nothing stays
mounted. The process ids, the ports and the files are this machine's, so whoever starts a node,
kills it or reads its log needs to know nothing of this.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.local import settings

#: Beside the kernel's own: the checkout with var/, and where tests keep their nodes.
SHARED = ("/proc", "/dev", "/tmp", tempfile.gettempdir(), str(settings.REPOSITORY))  # noqa: S108

#: Arguments: the root, how many paths are shared, those paths, then the command. Every step becomes
#: the next one by `exec`, so that the pid stays the one that was started. `setpriv` once more: the
#: signal of the starter's end is forgotten when a user namespace is entered.
_ENTER = r"""
root=$1 count=$2; shift 2
while [ "$count" -gt 0 ]; do
    [ -e "$root$1" ] || mkdir -p "$root$1"
    mount --rbind "$1" "$root$1"
    count=$((count - 1)); shift
done
exec chroot "$root" setpriv --pdeathsig TERM -- \
    sh -c 'cd "$1" 2>/dev/null || cd /; shift; exec "$@"' sh "$PWD" "$@"
"""


def inside(command: Sequence[str]) -> tuple[str, ...]:
    """The command as it is to be started: as it stands, or within SERVERS_ROOT."""
    root = settings.servers_root()
    if root is None:
        return tuple(command)
    # Only root may mount and chroot; anybody else may in a namespace where they are root.
    become = () if os.geteuid() == 0 else ("--map-root-user",)
    shared = tuple(dict.fromkeys(SHARED))
    enter = ("sh", "-ec", _ENTER, "sh", str(root), str(len(shared)), *shared)
    return ("unshare", "--mount", *become, "--", *enter, *command)


def installed(file: Path) -> bool:
    """Whether the file, named as the programs see it, is there."""
    root = settings.servers_root()
    return (file if root is None else root / file.relative_to("/")).exists()
