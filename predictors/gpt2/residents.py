"""Which models are in memory: as many as the budget allows, none let go while a request uses it.

Weights are loaded on demand where they did not all fit at the start. Callers choose the model, so they could
make the process load for ever: loads are few a minute, and beyond that the answer is 429.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from predictors.runtime.errors import Overloaded

Loaded = TypeVar("Loaded")
logger = logging.getLogger(__name__)

PERIOD = 60.0
"""Seconds over which loads are counted."""


@dataclass(eq=False)
class _Resident(Generic[Loaded]):
    size: int
    loaded: Loaded | None = None
    loading: asyncio.Task[None] | None = None
    users: int = 0
    used: float = field(default_factory=time.monotonic)

    @property
    def idle(self) -> bool:
        return self.users == 0 and self.loaded is not None


class Residents(Generic[Loaded]):
    """To be used from one event loop; ``load`` runs in a thread, one call at a time."""

    def __init__(
        self,
        sizes: Mapping[str, int],
        load: Callable[[str], Loaded],
        *,
        budget: int,
        loads_per_minute: int,
    ) -> None:
        """``sizes``: bytes each model takes, none more than ``budget``."""
        self._sizes, self._load, self._budget = sizes, load, budget
        self._allowed = loads_per_minute
        self._loads: deque[float] = deque()
        self._residents: dict[str, _Resident[Loaded]] = {}
        self._turn = asyncio.Lock()

    @property
    def count(self) -> int:
        return sum(resident.loaded is not None for resident in self._residents.values())

    def put(self, name: str, loaded: Loaded) -> None:
        """What was loaded before the first request."""
        self._residents[name] = _Resident(self._sizes[name], loaded)

    def __contains__(self, name: str) -> bool:
        return name in self._residents

    def fit(self, names: Iterable[str]) -> bool:
        """Whether these can be in memory together, whatever else is asked for."""
        return sum(self._sizes[name] for name in names) <= self._budget

    def get(self, name: str) -> Loaded:
        """A model that is held."""
        loaded = self._residents[name].loaded
        assert loaded is not None
        return loaded

    @contextlib.asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[Loaded]:
        """The model, loaded first if it is not there, and kept while this is held.

        Raises Overloaded when it does not fit beside those in use, or too many were loaded lately; what the
        loading raises is raised to all who wait for it.
        """
        resident = self._residents.get(name) or self._begin(name)
        resident.users += 1
        try:
            if resident.loading is not None:
                await asyncio.shield(resident.loading)  # it goes on for others if this caller leaves
            assert resident.loaded is not None
            yield resident.loaded
        finally:
            resident.users -= 1
            resident.used = time.monotonic()

    def _begin(self, name: str) -> _Resident[Loaded]:
        self._check_rate()
        self._make_room(self._sizes[name])
        self._loads.append(time.monotonic())
        resident = self._residents[name] = _Resident(self._sizes[name])
        resident.loading = asyncio.ensure_future(self._fill(name, resident))
        return resident

    async def _fill(self, name: str, resident: _Resident[Loaded]) -> None:
        try:
            async with self._turn:
                logger.info("Loading a model.", extra={"fields": {"name": name}})
                resident.loaded = await asyncio.to_thread(self._load, name)
            resident.loading = None
        except BaseException:
            del self._residents[name]  # the next request tries again
            raise

    def _check_rate(self) -> None:
        now = time.monotonic()
        while self._loads and self._loads[0] <= now - PERIOD:
            self._loads.popleft()
        if len(self._loads) >= self._allowed:
            wait = self._loads[0] + PERIOD - now
            raise Overloaded("Models were loaded too often of late; try again later.", retry_after=wait)

    def _make_room(self, size: int) -> None:
        taken = sum(resident.size for resident in self._residents.values())
        idle = sorted(
            (name for name, resident in self._residents.items() if resident.idle),
            key=lambda name: self._residents[name].used,
        )
        out: list[str] = []
        for name in idle:
            if taken + size <= self._budget:
                break
            out.append(name)
            taken -= self._residents[name].size
        if taken + size > self._budget:
            raise Overloaded("The models in use leave no memory for this one; try again.", retry_after=5)
        for name in out[::-1]:  # a small one may stay once a great one has gone
            if taken + self._residents[name].size + size <= self._budget:
                out.remove(name)
                taken += self._residents[name].size
        for name in out:
            logger.info("Letting a model go.", extra={"fields": {"name": name}})
            del self._residents[name]
