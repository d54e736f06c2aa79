"""The archive on a disk that is nearly full: a small memory file system in its own namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until

#: Bytes of the file system beside what the archive held: room for the objects of a row.
ROOM = 8 * 1024 * 1024

#: Mounts the small disk over the storage, runs the archive there, and keeps what it has stored.
_SCRIPT = """
set -e
mkdir -p "$1"
mount --bind "$2" "$1"
mount -t tmpfs -o "size=$3" none "$2"
cp -a "$1/." "$2/"
shift 3
trap 'kill -TERM "$archive"' TERM
"$@" & archive=$!
set +e
wait "$archive"; wait "$archive"
rm -f "$KEPT_STORAGE/filler"
cp -a "$KEPT_STORAGE/." "$KEPT_ORIGINAL/"
"""


class SmallDisk:
    """A disk that can be filled up, and emptied again, while the archive runs on it."""

    def __init__(self, filler: Path) -> None:
        self._filler = filler

    def fill(self) -> None:
        """Leave no byte."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1024 * 1024, 4096, 512, 1):
                _write_until_full(file.write, bytes(size))

    def empty(self) -> None:
        """Give the room back."""
        self._filler.unlink()


def _write_until_full(write: object, block: bytes) -> None:
    try:
        while True:
            written = write(block)  # type: ignore[operator]
            if written < len(block):
                return
    except OSError:
        return


@contextmanager
def on_small_disk(node: OrthancNode) -> Iterator[SmallDisk]:
    """The archive restarted on a small disk with all its data; as it was after the block."""
    storage, original = node.root / "storage", node.root / "original"
    size = sum(f.stat().st_size for f in storage.rglob("*") if f.is_file())
    command = node.server.command
    node.stop()
    node.server.command = (
        *("env", f"KEPT_STORAGE={storage}", f"KEPT_ORIGINAL={original}"),
        *("unshare", "--map-root-user", "--mount", "sh", "-c", _SCRIPT, "sh"),
        *(str(original), str(storage), str(size * 2 + ROOM), *command),
    )
    try:
        node.start()
        node.wait_ready()
        inside = Path(f"/proc/{node.server.pid}/root")
        disk = inside / storage.relative_to("/")
        wait_until(disk.is_dir, "mount the small disk", 10.0)
        yield SmallDisk(disk / "filler")
    finally:
        node.stop()
        node.server.command = command
        node.start()
        node.wait_ready()
        original.rmdir()
