"""A job's story over a store that goes away and comes back."""

from __future__ import annotations

import uuid
from pathlib import Path

from predictors.runtime.transports.sse import HEARTBEAT
from predictors.text_evaluator.evaluation import Evaluation
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import Finished, NewJob
from predictors.text_evaluator.jobs.redis import RedisStore
from predictors.text_evaluator.jobs.store import Quota
from predictors.text_evaluator.jobs.story import story
from tests.support.redis import redis_server


async def test_a_reader_who_is_behind_waits_for_the_store(tmp_path: Path) -> None:
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, lease=5.0, timeout=0.3)
        await store.open(lambda _, __: None)
        job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [text]), Quota(1, 9))
        await store.claim(1)
        await store.record(job.id, [Finished(0, "A", Evaluation(3, "x"))], 0.1)
        told = story(store, Feed(), job, 0, heartbeat=60)
        assert (await anext(told)).startswith(b"retry")
        assert b"event: progress" in await anext(told)
        server.kill()
        assert await anext(told) == HEARTBEAT
        server.start()
        rest = b"".join([part async for part in told])
        await store.close()
    assert b"id: 1\ndata" in rest
    assert b"event: complete\nid: 2" in rest
