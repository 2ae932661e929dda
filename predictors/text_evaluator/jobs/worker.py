"""Works jobs off: takes those nobody holds, has their texts marked in turns, keeps what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from predictors.text_evaluator.evaluation import ENGINE, EngineLost, ItemError, Outcome
from predictors.text_evaluator.jobs.fairness import FairQueue
from predictors.text_evaluator.jobs.model import Event, Finished, Job
from predictors.text_evaluator.jobs.store import JobStore, StoreUnavailable, Totals

logger = logging.getLogger(__name__)

Mark = Callable[[dict[str, str]], Awaitable[Outcome]]
"""One text's outcome. Cancelling ends it in the engine; raises EngineLost when no text can be marked."""

FLUSH_AFTER = 1.0
"""Seconds a finished text waits for others to be recorded with."""
ENDING = 3.0
"""Seconds that texts in the engine have to finish when the worker is to end."""


@dataclass(eq=False)
class _Held:
    """A job in our hands."""

    job: Job
    since: float
    """Monotonic time of what was last recorded."""
    open: int
    """Texts not yet recorded."""
    running: set[asyncio.Task[None]] = field(default_factory=set)
    finished: list[Finished] = field(default_factory=list)
    flushing: asyncio.Task[None] | None = None
    full: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class _Text:
    held: _Held
    index: int
    fields: dict[str, str]


class Worker:
    """``slots``: texts in the engine at a time; ``lease``: seconds the store believes in a silent worker."""

    def __init__(
        self,
        store: JobStore,
        mark: Mark,
        *,
        slots: int,
        batch: int,
        lease: float,
        ttl: float,
        cleanup: float,
        on_totals: Callable[[Totals], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._mark = store, mark
        self._slots, self._batch, self._lease = slots, batch, lease
        self._ttl, self._cleanup = ttl, cleanup
        self._on_totals, self._on_lost = on_totals, on_lost
        self._queue: FairQueue[_Text] = FairQueue()
        self._held: dict[str, _Held] = {}
        self._free = slots
        self._work, self._news = asyncio.Event(), asyncio.Event()
        self._closing = False
        self.rate = 0.0
        """Texts a second, by experience; 0 before there is one."""
        self._counted_since = 0.0

    @property
    def active(self) -> int:
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Texts that nobody has begun with."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._dispatch()), asyncio.create_task(self._look())]
        try:
            yield
        finally:
            # A cancellation alone may be lost: redis-py waits in places with wait_for, which forgets it.
            self._closing = True
            self._news.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._hand_over()

    def hear(self, job_id: str, events: Sequence[Event]) -> None:
        """The store's news."""
        if events and events[-1].name == "error" and (held := self._held.get(job_id)) is not None:
            self._drop(held)
        if not events:
            self._news.set()

    # -- taking jobs

    async def _look(self) -> None:
        """Keeps what is ours ours, takes what is nobody's: when there is news, and a few times a lease."""
        cleaned = time.monotonic()
        while not self._closing:
            self._news.clear()
            try:
                await self._renew()
                for claim in await self._store.claim(1000):
                    held = _Held(claim.job, time.monotonic(), len(claim.open))
                    self._held[claim.job.id] = held
                    self._queue.add(
                        claim.job.owner,
                        claim.job.id,
                        (_Text(held, index, text) for index, text in claim.open),
                    )
                    self._work.set()
                    if not claim.open:  # all was done but for saying so
                        self._flush_soon(held)
                if time.monotonic() - cleaned >= self._cleanup:
                    cleaned = time.monotonic()
                    await self._store.expire(self._ttl)
                self._on_totals(await self._store.totals())
            except StoreUnavailable as error:
                logger.warning("%s", error.message)
            except Exception as error:
                _unforeseen(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._lease / 3, self._cleanup)):
                    await self._news.wait()

    async def _renew(self) -> None:
        if self._held:
            kept = await self._store.renew(list(self._held))
            for job_id in [job_id for job_id in self._held if job_id not in kept]:
                if held := self._held.get(job_id):
                    logger.warning("A job is another replica's now.")
                    self._drop(held)

    # -- marking

    async def _dispatch(self) -> None:
        while True:
            while self._queue and self._free:
                text = self._queue.take()
                self._free -= 1
                task = asyncio.create_task(self._one(text))
                text.held.running.add(task)
                task.add_done_callback(text.held.running.discard)
            self._work.clear()
            await self._work.wait()

    async def _one(self, text: _Text) -> None:
        held = text.held
        try:
            outcome = await self._mark(text.fields)
        except EngineLost:
            self._on_lost()
            return
        except Exception:
            logger.exception("A text could not be marked.")
            outcome = ItemError("engine", ENGINE)
        finally:
            self._free += 1
            self._work.set()
        self._count()
        held.finished.append(Finished(text.index, text.fields["id_alumno"], outcome))
        self._flush_soon(held)

    def _count(self) -> None:
        """The rate, from the times between two texts; a pause longer than 5 s was nobody's waiting."""
        now = time.monotonic()
        passed, self._counted_since = now - self._counted_since, now
        if 0 < passed < 5:
            mean = 1 / self.rate if self.rate else passed
            self.rate = 1 / (mean + 0.05 * (passed - mean))

    # -- keeping

    def _flush_soon(self, held: _Held) -> None:
        if len(held.finished) >= min(self._batch, held.open):
            held.full.set()
        if held.flushing is None:
            held.flushing = asyncio.create_task(self._flush(held))

    async def _flush(self, held: _Held) -> None:
        try:
            await self._keep(held)
        except Exception as error:
            _unforeseen(error)
            await self._give_up(held)

    async def _keep(self, held: _Held) -> None:
        """Records what is finished, whole batches at once and the rest after a moment, until all is."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_AFTER):
                    await held.full.wait()
            held.full.clear()
            if not await self._record(held):
                return
            if not held.finished:
                held.flushing = None
                return
            if len(held.finished) >= min(self._batch, held.open):
                held.full.set()

    async def _record(self, held: _Held) -> bool:
        """One batch; waits for the store as long as it takes. False: the job is no longer ours."""
        rows, now = held.finished[: self._batch], time.monotonic()
        pause = 0.2
        while True:
            try:
                job = await self._store.record(held.job.id, rows, now - held.since)
                break
            except StoreUnavailable as error:
                logger.warning("%s", error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)
        if job is None or job.state.ended:
            self._held.pop(held.job.id, None)
            if job is None:
                self._drop(held)
            return False
        del held.finished[: len(rows)]
        held.job, held.since, held.open = job, now, held.open - len(rows)
        return True

    # -- letting go

    def _drop(self, held: _Held) -> None:
        """No more of it: cancelled, removed, or another's."""
        self._held.pop(held.job.id, None)
        self._queue.remove(held.job.id)
        for task in list(held.running):
            task.cancel()
        if held.flushing is not None and held.flushing is not asyncio.current_task():
            held.flushing.cancel()

    async def _give_up(self, held: _Held) -> None:
        """What could not be recorded is begun anew when somebody looks, and not sooner."""
        self._drop(held)
        with contextlib.suppress(StoreUnavailable):
            await self._store.release([held.job.id])

    async def _hand_over(self) -> None:
        """What the engine has may finish for a moment; the rest is for whoever comes next."""
        running = [task for held in self._held.values() for task in held.running]
        if running:
            await asyncio.wait(running, timeout=ENDING)
        for held in list(self._held.values()):
            held.full.set()
        flushing = [held.flushing for held in self._held.values() if held.flushing is not None]
        if flushing:
            await asyncio.wait(flushing, timeout=ENDING)
        left = list(self._held.values())
        for held in left:
            self._drop(held)
        with contextlib.suppress(StoreUnavailable):
            await self._store.release([held.job.id for held in left])


def _unforeseen(error: Exception) -> None:
    """Where it was, and not what it says: that may be a pupil's words."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("The worker goes on after an error.\n%s%s", where, type(error).__name__)
