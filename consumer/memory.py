"""Anonymous memory that the lab's processes share, so that no patient file has a name or a disk.

The main process owns the memory; a child gets its descriptor with the call that names the ``path``
(`consumer.children.wire`), and so no memory that no call has named. Nothing is left when the owner
dies: the kernel frees the pages with the last mapping, and the children die with their parent.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from consumer.errors import TooLarge

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray

#: Nobody resizes the memory any more, or makes a mapping that can be written (memfd_create(2)); the
#: last one is from Linux 5.1, and Python has no name for it.
_SEALS = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK

_SEAL_FUTURE_WRITE = 0x0010


class MemoryPath(str):
    """The path of memory in this process, valid while the owner holds it open.

    In another process the number is another's: there it travels as a descriptor, and in no pickle.
    """

    __slots__ = ("descriptor",)

    #: Of this process.
    descriptor: int

    def __new__(cls, descriptor: int) -> Self:
        """Return the path of an open descriptor."""
        # Not by the process's id: of a process that keeps its memory private only itself may.
        path = super().__new__(cls, f"/proc/self/fd/{descriptor}")
        path.descriptor = descriptor
        return path

    def __reduce__(self) -> NoReturn:
        raise TypeError("memory goes to another process as a descriptor")


class MemoryFile:
    """A growing file in memory (``memfd_create(2)``, Linux), closed with its ``with`` block.

    `name` shows in ``/proc/<pid>/fd`` only: give it no patient data.
    """

    def __init__(self, name: str = "labrelay") -> None:
        self._fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        #: How this process opens it, and what stands for it in the call of a child.
        self.path = MemoryPath(self._fd)

    @property
    def size(self) -> int:
        """Bytes that it holds now, whoever wrote them."""
        return os.fstat(self._fd).st_size

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def map(self) -> mmap.mmap:
        """Read-only view of all bytes; raises ValueError while it holds none."""
        return mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)

    def open_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Read-only array over the first bytes; see `open_array`."""
        return open_array(self.path, shape, dtype)

    def seal(self) -> None:
        """Keep what is there: it can be read from now on, and neither changed nor cut short.

        A child to which it is handed could otherwise change what the next one reads. A mapping that
        can be written and exists already stays one.
        """
        for seals in (_SEALS | _SEAL_FUTURE_WRITE, _SEALS):
            try:
                fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    raise
            else:
                return

    def close(self) -> None:
        """Give the memory back once no process maps it any more. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def map_bytes(path: str) -> mmap.mmap:
    """Read-only view of all bytes behind the `path` of a `MemoryFile`.

    Raises FileNotFoundError when the owner has closed it, ValueError when it is empty.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)


def open_array(path: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Read-only array over the memory behind `path`, C order, without a copy.

    Raises FileNotFoundError when the owner has closed it, ValueError when it holds fewer bytes.
    """
    array: NDArray[Any] = np.memmap(path, dtype=dtype, mode="r", shape=shape)
    return array


def create_array(path: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Writable array of zeros over the memory behind `path`, which takes exactly its size.

    What the file held before is gone. Raises FileNotFoundError when the owner has closed it.
    """
    # memmap's mode "w+" would open with O_CREAT, which asks more of /proc than is needed here.
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    array: NDArray[Any] = np.memmap(path, dtype=dtype, mode="r+", shape=shape)
    return array


class SeriesMemory(MemoryFile):
    """Takes no more than its `room` in bytes, of the `limit` for all series of a request."""

    def __init__(self, name: str, *, room: int, limit: int) -> None:
        super().__init__(name)
        self._left, self._limit = room, limit

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`. Raises TooLarge, and then holds nothing of it."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the series of the request have more than {self._limit} bytes")
        super().write(data)
