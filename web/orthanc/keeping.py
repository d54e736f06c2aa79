"""What a process keeps of what it has read: bounded by how much it is, not how many there are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Keeping(Generic[Key, Value]):
    """The values that were asked for last, as long as they weigh no more than `most` together."""

    def __init__(self, most: int, weigh: Callable[[Value], int]) -> None:
        self._most = most
        self._weigh = weigh
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._weight = 0
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value, if it is still kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: Key, value: Value) -> None:
        """Keep a value, and forget those that were not asked for the longest."""
        weight = self._weigh(value)
        with self._lock:
            _, before = self._kept.pop(key, (None, 0))
            self._kept[key] = (value, weight)
            self._weight += weight - before
            while self._weight > self._most:
                _, (_, oldest) = self._kept.popitem(last=False)
                self._weight -= oldest

    def or_read(self, key: Key, read: Callable[[], Value]) -> Value:
        """The value as it is kept, or as it is read now and then kept; errors are not."""
        found = self.get(key)
        if found is None:
            found = read()
            self.keep(key, found)
        return found

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._weight = 0
