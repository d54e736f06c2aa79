"""Room: memory, where a running case lies whole, and disk, where nothing of it should lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from consumer.checks.line import Line, bad, ok, warned
from consumer.settings import AnalysisSettings

#: Bytes. Four phases of 134 slices of 256 x 256, their volume, torch and a small model: about 2.
MEMORY_BYTES = 2 * 1024**3

#: Bytes. Logs, the caches of torch and CUDA.
DISK_BYTES = 1024**3

_GIB = 1024**3

#: What the kernel says of the machine's memory: proc(5).
_TABLE = Path("/proc/meminfo")


def check(
    model_path: Path,
    *,
    largest: int | None = None,
    memory: int = MEMORY_BYTES,
    disk: int = DISK_BYTES,
) -> Iterator[Line]:
    """Memory that is free now, and the disks of the models and of temporary files.

    `memory` and `disk` are the bytes that must be free, `largest` those of the largest request
    that the limits let in, where that is to be said.
    """
    free = available_memory()
    if free is not None and free < memory:
        yield bad(
            "memory",
            f"{free / _GIB:.1f} GiB free, a case needs {memory / _GIB:.0f} or more",
            "end other programs, or give the machine more; images lie in memory and on no disk",
        )
    elif free is not None:
        yield ok("memory", f"{free / _GIB:.1f} GiB free")
    if largest is not None:
        yield from _largest(largest)
    for noun, path in (("disk of MODEL_PATH", model_path), ("temporary disk", _temporary())):
        yield _disk(noun, path, disk)


def largest_request(settings: AnalysisSettings) -> int:
    """Bytes of memory that the limits let one request take.

    Its series, the volume in shared memory and once more as the bundle's own, and the reader.
    """
    return settings.max_request_bytes + 2 * settings.max_volume_bytes + settings.max_reader_bytes


def _largest(largest: int) -> Iterator[Line]:
    total = _memory("MemTotal")
    if total is None:
        return
    text = f"the limits let one request take {largest / _GIB:.0f} GiB of {total / _GIB:.0f}"
    if largest > total:
        yield warned(
            "largest request",
            text,
            "lower MAX_REQUEST_BYTES, MAX_VOLUME_BYTES or MAX_READER_BYTES, or give the machine "
            "more: beyond its memory the kernel ends the lab",
        )
    else:
        yield ok("largest request", text)


def available_memory(table: Path = _TABLE) -> int | None:
    """Bytes that new work can have without swapping (proc(5), MemAvailable); None if unknown."""
    return _memory("MemAvailable", table)


def _memory(name: str, table: Path = _TABLE) -> int | None:
    try:
        for line in table.read_text("ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path("/tmp")  # noqa: S108 - only its free space is looked at


def _disk(noun: str, path: Path, needed: int) -> Line:
    try:
        free = shutil.disk_usage(path).free
    except OSError as error:
        why = error.strerror or "no reason is known"
        return bad(noun, f"{path} cannot be looked at: {why}", "make it readable")
    if free < needed:
        text = f"{free / _GIB:.1f} GiB free on {path}"
        return bad(noun, text, f"free {needed / _GIB:.0f} GiB or more there")
    return ok(noun, f"{free / _GIB:.1f} GiB free on {path}")
