"""Jobs as the routes see them: posting, looking, cancelling, following."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from predictors.runtime.errors import Conflict, NotFound, Overloaded
from predictors.text_evaluator.evaluation import Outcome
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import Event, Job, NewJob, State
from predictors.text_evaluator.jobs.redis import RedisStore
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import JobStore, Quota, Refused, Totals
from predictors.text_evaluator.jobs.story import story
from predictors.text_evaluator.jobs.worker import Worker
from predictors.text_evaluator.reading import Work
from predictors.text_evaluator.settings import TextEvaluatorSettings


def make_store(settings: TextEvaluatorSettings) -> JobStore:
    if settings.store.startswith("sqlite:"):
        return SqliteStore(settings.database, settings.store_max_bytes)
    return RedisStore(settings.store, settings.store_password.get_secret_value(), lease=settings.lease)


def _sent(places: int) -> int:
    """Texts of jobs that the engine has at a time: a few more than places, so that none of them is empty."""
    return places + max(2, places // 16)


class Jobs:
    def __init__(
        self,
        settings: TextEvaluatorSettings,
        read: Callable[[Mapping[str, str]], Awaitable[Work]],
        mark: Callable[[Work], Awaitable[Outcome]],
        on_lost: Callable[[], None],
    ) -> None:
        self._settings, self._read, self._mark, self._on_lost = settings, read, mark, on_lost
        self._quota = Quota(settings.max_jobs, settings.max_caller_items)
        self._worker: Worker[Work] | None = None
        self.store: JobStore
        self.feed = Feed()

    async def open(self) -> None:
        """Raises LoadError when the store cannot be used."""
        self.store = make_store(self._settings)
        await self.store.open(self._hear)

    @contextlib.asynccontextmanager
    async def working(self, on_totals: Callable[[Totals], None]) -> AsyncIterator[None]:
        """Works jobs off; leaving gives those unfinished back."""
        settings = self._settings
        self._worker = Worker(
            self.store,
            self._read,
            self._mark,
            slots=_sent(settings.max_num_seqs),
            batch=settings.batch_size,
            lease=settings.lease,
            ttl=settings.job_ttl,
            cleanup=settings.cleanup_interval,
            engine_timeout=settings.engine_timeout,
            leaving=settings.grace_period / 3,
            on_totals=on_totals,
            on_lost=self._on_lost,
        )
        async with self._worker.working():
            yield

    def lose(self) -> None:
        """The engine is lost, as a text that is no job's has found."""
        if self._worker is not None:
            self._worker.lose()

    @property
    def waiting(self) -> int:
        """Texts in this replica's hands that nobody has begun with."""
        return 0 if self._worker is None else self._worker.waiting

    @property
    def active(self) -> int:
        return 0 if self._worker is None else self._worker.active

    async def post(self, owner: str, items: Sequence[Mapping[str, str]], key: str | None) -> tuple[Job, bool]:
        """The job, and whether it is new. Raises Conflict, Overloaded or StoreUnavailable."""
        # In a thread: megabytes would keep everybody waiting.
        digest = await asyncio.to_thread(lambda: hashlib.sha256(orjson.dumps(list(items))).hexdigest())
        try:
            return await self.store.create(NewJob(str(uuid.uuid4()), owner, items, key, digest), self._quota)
        except Refused as refused:
            if refused.reason == "conflict":
                raise Conflict("This Idempotency-Key stands for another request.") from None
            what = "jobs under way" if refused.reason == "jobs" else "texts of yours waiting"
            wait = self.estimate(len(items))
            raise Overloaded(f"There are too many {what}.", retry_after=min(max(1, wait), 60)) from None

    def estimate(self, items: int) -> int:
        """Whole seconds until so many texts more are through, by the rate that was measured."""
        rate = self._worker.rate if self._worker is not None else 0.0
        if not rate:
            return math.ceil(items * self._settings.seconds_per_item)
        # Those in front are shared with in turns, so that a small job waits for few of them.
        return math.ceil((items + min(self.waiting, items * max(1, self.active))) / rate)

    async def find(self, job_id: str, owner: str | None) -> Job:
        """Raises NotFound for what is not there, or not this caller's; None: whosever it is."""
        job = await self.store.get(job_id)
        if job is None or owner not in (None, job.owner):
            raise NotFound("There is no such job.")
        return job

    async def results(self, job: Job, after: int, limit: int) -> list[dict[str, Any]]:
        if job.state in (State.EXPIRED, State.CANCELLED):
            raise NotFound(f"The job is {job.state}; there are no results.")
        return await self.store.results(job.id, after, limit)

    def follow(self, job: Job, after: int) -> AsyncGenerator[bytes, None]:
        """Raises NotFound for a job whose events are gone: who follows must not come back for ever."""
        if job.state is State.EXPIRED:
            raise NotFound("The job is expired; there is nothing to follow.")
        return story(self.store, self.feed, job, after, self._settings.heartbeat)

    def _hear(self, job_id: str, events: Sequence[Event]) -> None:
        self.feed.publish(job_id, events)
        if self._worker is not None:
            self._worker.hear(job_id, events)
