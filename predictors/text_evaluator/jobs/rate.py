"""How fast texts come through, by experience."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TEXTS = 256


class Rate:
    """Texts a second while there was any to mark, over the last ones; time without any counts for nobody."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running, self._busy, self._since = 0, 0.0, 0.0
        # Busy seconds at the end of each text, behind those at which the first of them began.
        self._ends: deque[float] = deque([0.0], maxlen=_TEXTS + 1)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around one text; left by an error it was taken away, and is none."""
        if not self._running:
            self._since = self._clock()
        self._running += 1
        finished = False
        try:
            yield
            finished = True
        finally:
            now = self._clock()
            self._busy, self._since = self._busy + now - self._since, now
            self._running -= 1
            if finished:
                self._ends.append(self._busy)

    @property
    def per_second(self) -> float:
        """0 before there is experience."""
        seconds = self._ends[-1] - self._ends[0]
        return (len(self._ends) - 1) / seconds if seconds > 0 else 0.0
