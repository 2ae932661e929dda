"""A worker in a process of its own, over a real store, with a rule for an engine: to be killed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from predictors.text_evaluator.evaluation import Outcome
from predictors.text_evaluator.jobs.model import Event
from predictors.text_evaluator.jobs.redis import RedisStore
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import JobStore
from predictors.text_evaluator.jobs.worker import Worker
from tests.support.rule import rule

SECONDS = 0.01


def open_store(address: str, lease: float) -> JobStore:
    if address.startswith("redis:"):
        return RedisStore(address, lease=lease)
    return SqliteStore(Path(address))


async def read(fields: dict[str, str]) -> str:
    return fields["respuesta"]


async def mark(text: str) -> Outcome:
    await asyncio.sleep(SECONDS)
    return rule(text)


def run(address: str, lease: float, tell: Connection) -> None:
    """Until it is killed; sends the name of every event it hears of."""
    asyncio.run(_work(address, lease, tell))


async def _work(address: str, lease: float, tell: Connection) -> None:
    store = open_store(address, lease)
    worker = Worker(store, read, mark, slots=4, batch=3, lease=lease, ttl=3600, cleanup=3600)

    def hear(job_id: str, events: Sequence[Event]) -> None:
        worker.hear(job_id, events)
        for event in events:
            tell.send(event.name)

    await store.open(hear)
    async with worker.working():
        await asyncio.Event().wait()
