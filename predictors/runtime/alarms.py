"""Many deadlines behind one timer of the event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Alarms(Generic[Key]):
    """Calls ``ring`` with each key whose time has come; to be used from one event loop only.

    Almost every deadline is taken back before it comes, so setting and cancelling cost a dictionary's entry:
    a timer of the loop for each cost a tenth of a small request. The one timer is moved only to come
    earlier; when it finds nothing due it is set anew for what there is.
    """

    def __init__(self, ring: Callable[[Key], None]) -> None:
        self._ring = ring
        self._due: dict[Key, float] = {}
        self._next = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, key: Key, when: float) -> None:
        """Rings at ``when``, in the loop's time (seconds); replaces what was set for ``key``."""
        self._due[key] = when
        if when < self._next:
            self._schedule(when)

    def cancel(self, key: Key) -> None:
        """Does nothing if ``key`` has rung or was never set."""
        self._due.pop(key, None)

    def _schedule(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = when
        self._timer = asyncio.get_running_loop().call_at(when, self._fire)

    def _fire(self) -> None:
        self._next, self._timer = math.inf, None
        # The loop may call within its clock's resolution before the time asked for.
        now = asyncio.get_running_loop().time() + _RESOLUTION
        overdue = [key for key, when in self._due.items() if when <= now]
        for key in overdue:
            del self._due[key]
        if self._due:
            self._schedule(min(self._due.values()))
        for key in overdue:
            self._ring(key)


_RESOLUTION = 0.001
