"""Jobs, workers and engines as tests of jobs put them together: a store whose news are heard."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from predictors.text_evaluator.evaluation import Evaluation, Outcome
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import Job, NewJob
from predictors.text_evaluator.jobs.store import JobStore, Quota
from predictors.text_evaluator.jobs.worker import Worker

QUOTA = Quota(jobs=100, caller_items=10_000)
Read = Callable[[dict[str, str]], Awaitable[Any]]
Mark = Callable[[Any], Awaitable[Outcome]]


async def as_posted(fields: dict[str, str]) -> dict[str, str]:
    return fields


class Engine:
    """Marks every text with its place; says what it was given and what was taken from it."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.ready: list[str] = []
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.go, self.changed = asyncio.Event(), asyncio.Event()
        self.running = self.most = 0
        if not blocked:
            self.go.set()

    async def read(self, fields: dict[str, str]) -> dict[str, str]:
        self.ready.append(fields["respuesta"])
        self.changed.set()
        return fields

    async def mark(self, fields: dict[str, str]) -> Outcome:
        self.begun.append(fields["respuesta"])
        self.running += 1
        self.most = max(self.most, self.running)
        self.changed.set()
        try:
            await asyncio.sleep(0)
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(fields["respuesta"])
            raise
        finally:
            self.running -= 1
            self.changed.set()
        return Evaluation(3, fields["respuesta"])

    async def until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not happened():
                self.changed.clear()
                await self.changed.wait()


class Followed:
    """A store whose news go to a worker and to whoever waits for a job's end."""

    def __init__(self, store: JobStore) -> None:
        self.store, self.feed = store, Feed()
        self.workers: list[Worker[Any]] = []

    def hear(self, job_id: str, events: Any) -> None:
        self.feed.publish(job_id, events)
        for worker in self.workers:
            worker.hear(job_id, events)

    @asynccontextmanager
    async def worker(self, mark: Mark, read: Read = as_posted, **settings: Any) -> AsyncIterator[Worker[Any]]:
        defaults = {"slots": 4, "batch": 3, "lease": 2.0, "ttl": 60.0, "cleanup": 60.0}
        worker = Worker(self.store, read, mark, **{**defaults, **settings})
        self.workers.append(worker)
        async with worker.working():
            yield worker
        self.workers.remove(worker)

    async def post(self, size: int, owner: str = "ada") -> str:
        name = str(uuid.uuid4())
        items = [
            {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": f"{name[:4]} {n}"}
            for n in range(size)
        ]
        job, _ = await self.store.create(NewJob(name, owner, items), QUOTA)
        return job.id

    async def ended(self, job_id: str) -> Job:
        with self.feed.follow(job_id) as follower:
            async with asyncio.timeout(20):
                while True:
                    job = await self.store.get(job_id)
                    assert job is not None
                    if job.state.ended:
                        return job
                    await follower.rung(5)


async def indexes(store: JobStore, job_id: str) -> list[int]:
    return [row["index"] for row in await store.results(job_id, 0, 10_000)]
