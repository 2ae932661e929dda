"""A job's story over a store that goes away and comes back."""

from __future__ import annotations

import asyncio
import gc
import uuid
import weakref
from pathlib import Path
from typing import Any

import pytest

from predictors.runtime.transports.sse import HEARTBEAT
from predictors.text_evaluator.evaluation import Evaluation
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import Event, Finished, NewJob
from predictors.text_evaluator.jobs.redis import RedisStore
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import Quota
from predictors.text_evaluator.jobs.story import story
from tests.support.redis import Between, RedisServer, redis_server


async def test_a_reader_hears_also_what_nobody_told(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open(lambda _, __: None)  # every bell is lost
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [text]), Quota(1, 9))
    told = story(store, Feed(), job, 0, heartbeat=0.05)
    while await anext(told) != HEARTBEAT:
        pass
    await store.claim(1)
    await store.record(job.id, [Finished(0, "A", Evaluation(3, "x"))], 0.1)
    async with asyncio.timeout(10):
        assert b"event: complete\nid: 2" in b"".join([part async for part in told])
    await store.close()


TEXT = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}


async def test_a_reader_who_is_up_to_date_asks_the_store_for_nothing(tmp_path: Path) -> None:
    """Marks wait for the same thread: hundreds of readers' questions would be in their way."""
    store, feed, asked = SqliteStore(tmp_path / "jobs.db"), Feed(), list[str]()
    await store.open(feed.publish)
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [TEXT] * 4), Quota(1, 9))
    await store.claim(1)
    stories = [story(store, feed, job, 0, heartbeat=60) for _ in range(20)]
    for told in stories:
        await anext(told)
        await anext(told)
    await store._run(store._db.set_trace_callback, asked.append)
    readers = [asyncio.ensure_future(anext(told)) for told in stories]
    while len(asked) < len(stories):  # each looks once where the job stands  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    asked.clear()
    for index in range(4):
        await store._run(store._db.set_trace_callback, None)
        await store.record(job.id, [Finished(index, "A", Evaluation(3, "x"))], 0.1)
        await store._run(store._db.set_trace_callback, asked.append)
        for text in await asyncio.wait_for(asyncio.gather(*readers), 10):
            assert f"id: {index + 1}\n".encode() in text
        readers = [asyncio.ensure_future(anext(told)) for told in stories]
    assert all(b"event: complete" in text for text in await asyncio.wait_for(asyncio.gather(*readers), 10))
    assert asked == []
    await store.close()


@pytest.mark.parametrize("way", ["read", "cancelled"])
def test_what_was_streamed_is_kept_no_longer_than_its_readers_and_its_job(way: str) -> None:
    class Data(dict[str, Any]):
        """One that can be asked whether it is still there."""

    feed, data = Feed(), Data(event="batch_complete")
    kept = weakref.ref(data)
    with feed.follow("job") as follower:
        feed.publish("job", [Event(1, "batch_complete", data)])
        texts = [told.text for told in follower.recent(0) or ()]
        del data
        if way == "cancelled":
            feed.publish("job", [Event(2, "error", {})])
            assert kept() is None
    del follower
    gc.collect()
    assert kept() is None
    assert b"id: 1" in texts[0]


async def test_news_are_asked_for_anew_where_a_connection_has_died_without_a_word(redis: RedisServer) -> None:
    subscribed = asyncio.Queue[str]()
    async with Between(redis.port) as between:
        store = RedisStore(between.url, lease=5.0, timeout=0.2)
        await store.open(lambda job_id, _: subscribed.put_nowait(job_id))
        async with asyncio.timeout(10):
            assert await subscribed.get() == ""
            between.mute()
            assert await subscribed.get() == ""
        await store.close()


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


async def test_a_stream_whose_events_the_store_has_lost_ends_with_its_job(redis: RedisServer) -> None:
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": "r"}
    store = RedisStore(redis.url, lease=5.0)
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [text]), Quota(99, 99))
    await store.claim(99)
    await store.record(job.id, [Finished(0, "A", Evaluation(3, "x"))], 0.1)
    for key in await store._redis.keys(f"*events:{job.id}"):
        await store._redis.delete(key)
    async with asyncio.timeout(10):
        told = [part async for part in story(store, Feed(), job, 0, heartbeat=0.05)]
    assert len(told) == 2, "what a stream begins with"
    await store.close()


async def test_a_reader_of_a_store_that_fell_back_is_told_the_log_as_it_is_now(redis: RedisServer) -> None:
    """Events that were told and are no more: others have their ids."""
    store, feed = RedisStore(redis.url, lease=5.0), Feed()
    await store._redis.flushall()
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [TEXT] * 3), Quota(99, 99))
    await store.claim(99)
    kept = {key: await store._redis.dump(key) for key in await store._redis.keys("*")}
    told = story(store, feed, job, 0, heartbeat=0.05)
    for index in range(2):
        await store.record(job.id, [Finished(index, "A", Evaluation(1, "before"))], 0.1)
    while b"id: 2" not in await anext(told):
        pass
    for key in await store._redis.keys("*"):
        await store._redis.delete(key)
    for key, value in kept.items():
        await store._redis.restore(key, 0, value)
    await store.record(job.id, [Finished(2, "A", Evaluation(2, "after"))], 0.1)
    async with asyncio.timeout(10):
        while (part := await anext(told)) == HEARTBEAT:
            pass
        assert b"id: 1\n" in part
        assert b"after" in part
        await store.record(job.id, [Finished(n, "A", Evaluation(2, "after")) for n in range(2)], 0.1)
        assert b"event: complete\nid: 3" in b"".join([part async for part in told])
    await store.close()
