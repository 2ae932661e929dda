"""A worker killed without a word at twenty random points of its life: every text ends with its one mark."""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from predictors.text_evaluator.jobs.model import Job, NewJob, State
from predictors.text_evaluator.jobs.store import LOOKS, JobStore, Quota
from tests.support import job_worker
from tests.support.job_worker import open_store
from tests.support.redis import redis_server
from tests.support.rule import rule

pytestmark = pytest.mark.timeout(600)

SIZE, POINTS, LEASE, SPAN = 200, 20, 0.4, 0.3
"""Texts of a job, kills, and in seconds the workers' lease and how far apart the kills may be."""
TEXTS = [" ".join(f"w{n}" for n in range(index % 23 + 1)) + f" {index}" for index in range(SIZE)]


async def ready(address: str) -> JobStore:
    store = open_store(address, LEASE)
    await store.open(lambda _, __: None)
    return store


async def post(address: str) -> str:
    store = await ready(address)
    items = [{"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": text} for text in TEXTS]
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", items), Quota(1, 1000))
    await store.close()
    return job.id


# A process that has imported all of it is forked for each worker: forty starts in the time of one.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([job_worker.__name__])


def run(address: str, seconds: float | None) -> None:
    """A worker, killed so many seconds after it was started; None: when it has told of its job's end."""
    heard, tell = FORKS.Pipe(duplex=False)
    worker = FORKS.Process(target=job_worker.run, args=(address, LEASE, tell))
    worker.start()
    tell.close()  # so that it ends for us when the worker does
    with heard:
        if seconds is None:
            while heard.recv() != "complete":
                pass
        else:
            time.sleep(seconds)
        worker.kill()
        worker.join()


async def has_ended(address: str, job_id: str) -> bool:
    store = await ready(address)
    job = await store.get(job_id)
    await store.close()
    assert job is not None
    return job.state.ended


async def check(address: str, job_id: str) -> None:
    """Complete, equal to what nothing disturbed, and each text once: in the results, and in the events."""
    store = await ready(address)
    job = await store.get(job_id)
    assert isinstance(job, Job)
    assert (job.state, job.done) == (State.COMPLETED, SIZE)
    rows = await store.results(job_id, 0, 10 * SIZE)
    assert len(rows) == SIZE
    marks = {row["index"]: (row["nota"], row["feedback"]) for row in rows}
    assert marks == {n: (rule(text).nota, rule(text).feedback) for n, text in enumerate(TEXTS)}
    told = await store.events(job_id, 0, 10 * SIZE)
    streamed: list[dict[str, Any]] = [row for one in told for row in one.data["data"].get("results", [])]
    assert sorted(row["index"] for row in streamed) == list(range(SIZE))
    assert [one.id for one in told] == list(range(1, len(told) + 1))
    assert [one.name for one in told].count("complete") == 1
    await store.close()


async def kill_again_and_again(address: str, seed: int, before: float) -> None:
    """``before``: seconds until a worker can have what the one that was killed before it held."""
    job_id, rng = await post(address), random.Random(seed)
    for _ in range(POINTS):
        # Anywhere: as it starts, claims, between two commits or in one, up to a job's last.
        run(address, before + rng.uniform(0, SPAN))
        if await has_ended(address, job_id):
            await check(address, job_id)
            job_id = await post(address)
    run(address, None)
    await check(address, job_id)


async def test_sqlite_a_worker_killed_at_twenty_points(tmp_path: Path) -> None:
    await kill_again_and_again(str(tmp_path / "jobs.db"), 7, 0.0)


async def test_redis_a_worker_killed_at_twenty_points(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        await kill_again_and_again(server.url, 11, LEASE * (LOOKS - 1) / LOOKS)
