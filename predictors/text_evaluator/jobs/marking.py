"""From a text in the store to its outcome: fetched, read, and marked in one of the engine's places."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from predictors.text_evaluator.evaluation import ENGINE, LOST, EngineLost, ItemError, Outcome
from predictors.text_evaluator.faults import log_fault
from predictors.text_evaluator.jobs.model import Finished
from predictors.text_evaluator.jobs.rate import Rate
from predictors.text_evaluator.jobs.store import JobStore, insist

logger = logging.getLogger(__name__)

Work = TypeVar("Work")
"""A text made ready for the engine."""

_TRIES = (0.0, 0.2, 1.0)
"""Seconds before each try to read a text that the store has and cannot give."""


@dataclass(eq=False, slots=True)
class Text:
    """One that is begun, or waits for its turn."""

    job_id: str
    index: int
    suspect: bool = False
    """It was in an engine when that was lost: it goes into this one alone."""
    dropped: bool = False
    """Its task was cancelled, which may be forgotten: redis-py waits in places with wait_for."""


class Marking(Generic[Work]):
    """``read``: a text's fields made ready for the engine. ``mark``: its outcome; cancelling ends it in the
    engine, and it raises EngineLost when no text can be marked. ``slots``: texts the engine has at a time.
    ``timeout``: seconds in which it marks none of them; then it hangs, and is as good as lost. ``on_lost``:
    told of an EngineLost while what was in the engine is still ``inside``."""

    def __init__(
        self,
        store: JobStore,
        read: Callable[[dict[str, str]], Awaitable[Work]],
        mark: Callable[[Work], Awaitable[Outcome]],
        *,
        slots: int,
        timeout: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._store, self._read, self._mark, self._on_lost = store, read, mark, on_lost
        self._timeout, self._slots, self._places = timeout, slots, asyncio.Semaphore(slots)
        # A suspect holds it while it gathers places, so that nobody takes those that become free.
        self._turnstile = asyncio.Lock()
        self.inside: set[Text] = set()
        """What the engine has."""
        self._limits: set[asyncio.Timeout] = set()
        self.rate = Rate()

    async def finish(self, text: Text) -> Finished:
        """Raises EngineLost."""
        fields = await self._fetch(text)
        if fields is None:
            return Finished(text.index, "", ItemError("lost", LOST))
        try:
            work = await self._read(fields)
            async with self._place(text):
                outcome = await self._outcome(text, work)
        except EngineLost:
            raise
        except Exception as error:
            log_fault(logger, "A text could not be marked.", error)
            outcome = ItemError("engine", ENGINE)
        return Finished(text.index, fields["id_alumno"], outcome)

    @contextlib.asynccontextmanager
    async def _place(self, text: Text) -> AsyncIterator[None]:
        """One place, or for a suspect all of them."""
        async with contextlib.AsyncExitStack() as places:
            async with self._turnstile:
                for _ in range(self._slots * text.suspect):
                    await places.enter_async_context(self._places)
            if not text.suspect:
                await places.enter_async_context(self._places)
            if text.dropped:
                raise asyncio.CancelledError
            self.inside.add(text)
            places.callback(self.inside.discard, text)
            yield

    async def _outcome(self, text: Text, work: Work) -> Outcome:
        try:
            with self.rate.running():
                return await self._in_time(work)
        except EngineLost:
            self._on_lost()
            if text.suspect:  # it was alone
                return ItemError("engine", ENGINE)
            raise

    async def _in_time(self, work: Work) -> Outcome:
        limit = asyncio.timeout(self._timeout)
        self._limits.add(limit)
        try:
            async with limit:
                outcome = await self._mark(work)
        except TimeoutError:
            if not limit.expired():
                raise
            logger.error("The engine has answered nothing for %g s.", self._timeout)
            raise EngineLost from None
        finally:
            self._limits.discard(limit)
        self._put_off()
        return outcome

    def _put_off(self) -> None:
        """The engine lives: a text may also wait in it, behind others."""
        later = asyncio.get_running_loop().time() + self._timeout
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(later)

    async def _fetch(self, text: Text) -> dict[str, str] | None:
        """The text as it was posted. None: it is not there, or not to be read, however often one asks."""
        for pause in _TRIES:
            await asyncio.sleep(pause)
            try:
                fields = await insist(lambda: self._store.fields(text.job_id, text.index))
                return None if fields is None else {"id_alumno": "", **fields}
            except Exception as error:
                log_fault(logger, "A text could not be read from the job store.", error)
        return None
