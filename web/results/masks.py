"""What is marked in the slices of a series, eight pixels to a byte: most slices have nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class Masks:
    """The marked pixels by slice. No slice takes memory in which nothing is marked."""

    def __init__(self, size: tuple[int, int]) -> None:
        #: Rows and columns.
        self.size = size
        self._packed: dict[int, NDArray[np.uint8]] = {}

    def add(self, index: int, mask: NDArray[np.bool_]) -> None:
        """Mark these pixels (rows, columns) of a slice, too."""
        packed = np.packbits(mask)
        before = self._packed.get(index)
        if before is not None:
            before |= packed
        elif packed.any():
            self._packed[index] = packed

    def of(self, index: int) -> NDArray[np.bool_]:
        """The mask of a slice (rows, columns)."""
        packed = self._packed.get(index)
        if packed is None:
            return np.zeros(self.size, np.bool_)
        rows, columns = self.size
        return np.unpackbits(packed, count=rows * columns).reshape(self.size).view(np.bool_)

    def extent(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the smallest box around all that is marked."""
        rows, columns = np.zeros(self.size[0], np.bool_), np.zeros(self.size[1], np.bool_)
        for index in self:
            mask = self.of(index)
            rows |= mask.any(axis=1)
            columns |= mask.any(axis=0)
        slices = list(self)
        high, wide = (int(np.ptp(np.flatnonzero(along))) + 1 for along in (rows, columns))
        return slices[-1] - slices[0] + 1, high, wide

    def __iter__(self) -> Iterator[int]:
        """The slices in which something is marked, from the first."""
        return iter(sorted(self._packed))

    def __len__(self) -> int:
        """In how many slices something is marked."""
        return len(self._packed)
