"""Which requests have an outcome already: the last so many of a partition, newest last."""

from __future__ import annotations

from collections import OrderedDict


class Seen:
    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, key: tuple[str, str]) -> bool:
        """Whether it is new. Oldest ones are forgotten."""
        if not self._size:
            return True
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._keys)
