"""Works jobs off: takes those nobody holds, has their texts marked in turns, keeps what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

from predictors.text_evaluator.evaluation import EngineLost, Outcome
from predictors.text_evaluator.faults import log_fault
from predictors.text_evaluator.jobs.fairness import FairQueue
from predictors.text_evaluator.jobs.marking import Marking, Text, Work
from predictors.text_evaluator.jobs.model import LAST, Event, Finished, Job
from predictors.text_evaluator.jobs.store import LOOKS, JobStore, StoreUnavailable, Totals, insist

logger = logging.getLogger(__name__)

FLUSH_AFTER = 1.0
"""Seconds a finished text waits for others to be recorded with."""
ENDING = 3.0
"""Seconds that texts in the engine have to finish when the worker is to end."""
COUNTING = 2.0
"""Seconds between two looks at the totals."""


@dataclass(eq=False)
class _Held:
    """A job in our hands."""

    job: Job
    since: float
    """Monotonic time of what was last recorded."""
    open: int
    """Texts not yet recorded."""
    running: dict[asyncio.Task[None], Text] = field(default_factory=dict)
    finished: list[Finished] = field(default_factory=list)
    flushing: asyncio.Task[None] | None = None
    full: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    """For another worker, as soon as what was begun is recorded."""


class Worker(Generic[Work]):
    """``read``, ``mark``, ``slots`` and ``engine_timeout`` as of Marking; as many texts again as it has slots
    are read ahead, so that none of the engine's places waits for the store or the tokenizer. ``lease``:
    seconds within which a silent worker's jobs are another's; ``leaving``: seconds that its end may take in
    all. ``on_lost``: called once, when the engine is lost."""

    def __init__(
        self,
        store: JobStore,
        read: Callable[[dict[str, str]], Awaitable[Work]],
        mark: Callable[[Work], Awaitable[Outcome]],
        *,
        slots: int,
        batch: int,
        lease: float,
        ttl: float,
        cleanup: float,
        engine_timeout: float = 600.0,
        leaving: float = 10.0,
        on_totals: Callable[[Totals], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._marking = Marking(store, read, mark, slots=slots, timeout=engine_timeout, on_lost=self.lose)
        self._batch, self._lease = batch, lease
        self._ttl, self._cleanup, self._leaving = ttl, cleanup, leaving
        self._on_totals, self._on_lost = on_totals, on_lost
        self._queue: FairQueue[tuple[_Held, Text]] = FairQueue()
        self._held: dict[str, _Held] = {}
        self._free = 2 * slots
        self._work, self._news = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._losing: asyncio.Task[None] | None = None
        """Tells the store of the texts that were in the engine when it was lost."""

    @property
    def active(self) -> int:
        return len(self._held)

    @property
    def rate(self) -> float:
        """Texts a second, by experience; 0 before there is one."""
        return self._marking.rate.per_second

    @property
    def waiting(self) -> int:
        """Texts that nobody has begun with."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in (self._dispatch, self._look, self._count)]
        try:
            yield
        finally:
            # A cancellation alone may be lost: redis-py waits in places with wait_for, which forgets it.
            self._closing = True
            self._news.set()
            for task in tasks:
                task.cancel()
            # A store that does not answer keeps nobody: leases end by themselves.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._leaving):
                    await asyncio.wait(tasks)
                    await self._hand_over()
            if self._losing is not None:
                self._losing.cancel()
            for held in list(self._held.values()):
                self._drop(held)

    def lose(self) -> None:
        """The engine is lost: nothing more is begun, and the next claims say which texts it had."""
        if self._losing is not None:
            return
        accused: dict[str, list[int]] = defaultdict(list)
        for text in self._marking.inside:
            if not text.suspect:
                accused[text.job_id].append(text.index)
        self._losing = asyncio.create_task(self._accuse(accused))
        for held in self._held.values():
            self._begin_no_more(held)
        self._on_lost()

    async def _accuse(self, accused: Mapping[str, Sequence[int]]) -> None:
        for job_id, indexes in accused.items():
            async with _going_on():
                await insist(partial(self._store.suspect, job_id, indexes))

    def hear(self, job_id: str, events: Sequence[Event]) -> None:
        """The store's news."""
        if events and events[-1].name == "error" and (held := self._held.get(job_id)) is not None:
            self._drop(held)
        if not events or events[-1].name in LAST:
            self._news.set()

    # -- taking jobs

    async def _look(self) -> None:
        """Keeps what is ours ours, takes what is nobody's: when there is news, and a few times a lease."""
        cleaned = time.monotonic()
        while not self._closing:
            self._news.clear()
            async with _going_on():
                # In this order: who is silent must not count as a worker longer than its jobs are its own.
                share = await self._store.share()
                await self._renew()
                await self._take(share)
                if time.monotonic() - cleaned >= self._cleanup:
                    cleaned = time.monotonic()
                    await self._store.expire(self._ttl)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._lease / LOOKS, self._cleanup)):
                    await self._news.wait()

    async def _count(self) -> None:
        while not self._closing:
            async with _going_on():
                self._on_totals(await self._store.totals())
            await asyncio.sleep(COUNTING)

    async def _take(self, share: int) -> None:
        """As many jobs as are our part: no fewer, so that each has its turns, and no more, for the others."""
        staying = [held for held in self._held.values() if not held.leaving]
        for held in staying[share:]:
            self._let_go(held)
        if len(self._held) >= share or self._losing is not None:
            return
        for claim in await self._store.claim(share - len(self._held)):
            held = _Held(claim.job, time.monotonic(), len(claim.open))
            self._held[claim.job.id] = held
            texts = [(held, Text(claim.job.id, index, index in claim.suspects)) for index in claim.open]
            # In a row at the beginning: the engine is emptied once for all of them.
            texts.sort(key=lambda work: not work[1].suspect)
            self._queue.add(claim.job.owner, claim.job.id, texts)
            self._work.set()
            if not claim.open:  # all was done but for saying so
                self._flush_soon(held)

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
            while self._queue and self._free and self._losing is None:
                held, text = self._queue.take()
                self._free -= 1
                task = asyncio.create_task(self._one(held, text))
                held.running[task] = text
                # Not at the end of _one: what is cancelled before its first step never gets there.
                task.add_done_callback(partial(self._through, held))
            self._work.clear()
            await self._work.wait()

    def _through(self, held: _Held, task: asyncio.Task[None]) -> None:
        held.running.pop(task, None)
        self._free += 1
        self._work.set()

    async def _one(self, held: _Held, text: Text) -> None:
        try:
            finished = await self._marking.finish(text)
        except EngineLost:
            return
        held.finished.append(finished)
        self._flush_soon(held)

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
            log_fault(logger, "The worker goes on after an error.", error)
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
                if held.leaving and not held.running:
                    await self._give_up(held)
                return
            if len(held.finished) >= min(self._batch, held.open):
                held.full.set()

    async def _record(self, held: _Held) -> bool:
        """One batch; waits for the store as long as it takes. False: the job is no longer in our hands."""
        rows, now = held.finished[: self._batch], time.monotonic()
        expected = held.job.done + len(rows)
        job = await insist(lambda: self._store.record(held.job.id, rows, now - held.since))
        if job is None or job.state.ended:
            self._held.pop(held.job.id, None)
            if job is None:
                self._drop(held)
            return False
        del held.finished[: len(rows)]
        held.job, held.since, held.open = job, now, held.open - len(rows)
        if job.done != expected or not held.open:
            # A Redis that came back without its last second: what is open only a new claim knows.
            logger.warning("The job store has lost outcomes of a job; their texts are marked again.")
            await self._give_up(held)
            return False
        return True

    # -- letting go

    def _drop(self, held: _Held) -> None:
        """No more of it: cancelled, removed, or another's."""
        self._held.pop(held.job.id, None)
        self._queue.remove(held.job.id)
        for task, text in list(held.running.items()):
            _cancel(task, text)
        if held.flushing is not None and held.flushing is not asyncio.current_task():
            held.flushing.cancel()

    def _let_go(self, held: _Held) -> None:
        """It is given up when what the engine has of it is recorded."""
        held.leaving = True
        self._begin_no_more(held)
        if not held.running:
            held.full.set()
            self._flush_soon(held)

    def _begin_no_more(self, held: _Held) -> None:
        """What is only read ahead gets no place in the engine; it stays open in the store."""
        self._queue.remove(held.job.id)
        for task, text in list(held.running.items()):
            if text not in self._marking.inside:
                del held.running[task]
                _cancel(task, text)

    async def _give_up(self, held: _Held) -> None:
        """For another worker, or ourselves, when somebody looks."""
        self._drop(held)
        with contextlib.suppress(StoreUnavailable):
            await self._store.release([held.job.id])

    async def _hand_over(self) -> None:
        """What the engine has may finish for a moment; the rest is for whoever comes next."""
        for held in self._held.values():
            self._begin_no_more(held)
        running = [task for held in self._held.values() for task in held.running]
        if running:
            await asyncio.wait(running, timeout=ENDING)
        for held in list(self._held.values()):
            held.full.set()
        flushing = [held.flushing for held in self._held.values() if held.flushing is not None]
        if flushing:
            await asyncio.wait(flushing, timeout=ENDING)
        if self._losing is not None:  # before they are anybody else's
            await asyncio.wait([self._losing], timeout=ENDING)
        left = list(self._held.values())
        for held in left:
            self._drop(held)
        with contextlib.suppress(StoreUnavailable):
            await self._store.leave([held.job.id for held in left])


def _cancel(task: asyncio.Task[None], text: Text) -> None:
    text.dropped = True
    task.cancel()


@contextlib.asynccontextmanager
async def _going_on() -> AsyncIterator[None]:
    """Whatever goes wrong in here is tried again at the next round."""
    try:
        yield
    except StoreUnavailable as error:
        logger.warning("%s", error.message)
    except Exception as error:
        log_fault(logger, "The worker goes on after an error.", error)
