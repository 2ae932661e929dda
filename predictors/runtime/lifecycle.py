"""Where a predictor stands between start and end, and what follows from it."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable


class State(enum.StrEnum):
    LOADING = "loading"  # port open, live, not ready
    READY = "ready"  # verified, self-tested, warm
    DRAINING = "draining"  # SIGTERM seen: not ready; new work taken for drain_delay, then refused
    FAILED = "failed"  # the load failed; the process is about to exit


class Lifecycle:
    def __init__(self, healthy: Callable[[], bool] = lambda: True) -> None:
        self._healthy = healthy
        self.state = State.LOADING
        self.stage = "starting"
        """What the load is doing now, for people who wait."""
        self.error: str | None = None
        """Why the load failed, one sentence."""
        self.load_seconds: float | None = None
        self.accepting = False
        """Whether new work is taken; goes on for drain_delay after readiness went."""
        self._started = time.monotonic()

    @property
    def ready(self) -> bool:
        return self.state is State.READY and self._healthy()

    @property
    def seconds(self) -> float:
        """Seconds since the process began to load."""
        return time.monotonic() - self._started

    def loaded(self) -> None:
        self.state, self.accepting = State.READY, True
        self.load_seconds = self.seconds

    def failed(self, error: str) -> None:
        self.state, self.error = State.FAILED, error

    def draining(self) -> None:
        self.state = State.DRAINING
