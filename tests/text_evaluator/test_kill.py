"""A worker killed without a word at twenty random points of a job: every text ends with its one mark."""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from predictors.text_evaluator.jobs.model import Job, NewJob, State
from predictors.text_evaluator.jobs.store import JobStore, Quota
from tests.support import job_worker
from tests.support.job_worker import open_store
from tests.support.redis import redis_server
from tests.support.rule import rule

pytestmark = pytest.mark.timeout(600)

SIZE, POINTS, LEASE = 200, 20, 0.6
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


def run_until(address: str, events: int | None, then: float = 0.0) -> bool:
    """A worker, killed ``then`` seconds after it told of so many events, None: of the last.

    Whether it has told of the last.
    """
    heard, tell = FORKS.Pipe(duplex=False)
    worker = FORKS.Process(target=job_worker.run, args=(address, LEASE, tell))
    worker.start()
    tell.close()  # so that it ends for us when the worker does
    ended, told = False, 0
    with heard:
        while not ended and told != events:
            ended = heard.recv() == "complete"
            told += 1
        time.sleep(then)
        worker.kill()
        worker.join()
        with suppress(EOFError):
            while heard.poll():
                ended = heard.recv() == "complete" or ended
    return ended


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


async def kill_again_and_again(address: str, seed: int) -> None:
    job_id, rng = await post(address), random.Random(seed)
    for _ in range(POINTS):
        # Anywhere between two commits, or in one. With four texts in the engine of 10 ms each a worker gets
        # three texts and eight more recorded at most, seven on average: two hundred are not come by.
        assert not run_until(address, 1, rng.uniform(0, 0.02))
    assert run_until(address, None)
    await check(address, job_id)


async def test_sqlite_a_worker_killed_at_twenty_points(tmp_path: Path) -> None:
    await kill_again_and_again(str(tmp_path / "jobs.db"), 7)


async def test_redis_a_worker_killed_at_twenty_points(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        await kill_again_and_again(server.url, 11)
