"""Whether and when a call is sent again: what certainly did no harm, with pauses that grow and scatter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from .calls import Call
from .errors import ConnectionFailed, ServiceError, error_of

_AGAIN = (429, 503)
#: Nothing was sent yet.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
#: The connection broke after it was sent; a call that may be repeated is.
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class Retries:
    attempts: int = 4
    """In all, the first included."""
    base: float = 0.25
    """Seconds; the longest first pause, doubled each time. Each pause is anything from 0 to it."""
    longest: float = 10.0
    """No pause is longer, a Retry-After included: beyond it the error is raised, which has it."""
    total: float = 60.0
    """No attempt begins later than this many seconds after the first."""


class Attempts:
    """The attempts at one call."""

    def __init__(
        self,
        call: Call[Any],
        retries: Retries,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._call, self._retries, self._clock, self._chance = call, retries, clock, chance
        self._made = 0
        self._began = clock()

    def answered(self, response: httpx.Response) -> float | None:
        """None: the answer is a good one. Otherwise the pause before the next attempt, or it raises."""
        if response.is_success:
            return None
        error = error_of(response)
        pause = self._pause(error.retry_after) if self._may_be_sent_again(error) else None
        if pause is None:
            raise error
        return pause

    def failed(self, error: httpx.TransportError) -> float:
        """The pause before the next attempt, or it raises."""
        again = isinstance(error, _NOT_SENT) or (isinstance(error, _BROKEN) and self._call.repeatable)
        pause = self._pause() if again else None
        if pause is None:
            raise ConnectionFailed(
                f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            ) from error
        return pause

    def _may_be_sent_again(self, error: ServiceError) -> bool:
        """A 503 that does not say when to come back may come from a model that broke off in the middle."""
        if error.status == 503 and error.retry_after is None:
            return self._call.repeatable
        return error.status in _AGAIN

    def _pause(self, at_least: float | None = None) -> float | None:
        self._made += 1
        if self._made >= self._retries.attempts:
            return None
        scattered = self._chance() * min(self._retries.longest, self._retries.base * 2 ** (self._made - 1))
        # What the server asks for, and a little more, so that not all who were told come back at once.
        pause = scattered if at_least is None else at_least + min(scattered, 1.0)
        over = at_least is not None and at_least > self._retries.longest
        if over or self._clock() - self._began + pause > self._retries.total:
            return None
        return pause
