"""The worker over both stores: everything once, in turns, whatever is cancelled, lost or away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from predictors.text_evaluator.evaluation import EngineLost, Evaluation, Outcome
from predictors.text_evaluator.jobs.model import Event, Finished, State
from predictors.text_evaluator.jobs.redis import NEWS, PREFIX, RedisStore
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import JobStore, StoreUnavailable
from tests.support.jobs import Engine, Followed, indexes
from tests.support.redis import RedisServer, redis_server


async def test_every_text_once_and_never_more_than_the_slots(followed: Followed) -> None:
    engine = Engine()
    async with followed.worker(engine.mark):
        jobs = [await followed.post(size) for size in (7, 1, 12)]
        for job_id, size in zip(jobs, (7, 1, 12), strict=True):
            job = await followed.ended(job_id)
            assert (job.state, job.done) == (State.COMPLETED, size)
            assert sorted(await indexes(followed.store, job_id)) == list(range(size))
    assert len(engine.begun) == 20
    assert engine.most <= 4


async def test_texts_are_read_before_the_engine_has_a_place_for_them(followed: Followed) -> None:
    engine = Engine(blocked=True)
    async with followed.worker(engine.mark, engine.read, slots=2):
        job_id = await followed.post(9)
        await engine.until(lambda: len(engine.ready) == 4)
        assert engine.running == 2
        engine.go.set()
        assert (await followed.ended(job_id)).done == 9
    assert engine.most == 2
    assert len(engine.ready) == 9


async def test_jobs_that_were_there_before_the_worker_are_taken(followed: Followed) -> None:
    job_id = await followed.post(5)
    async with followed.worker(Engine().mark):
        assert (await followed.ended(job_id)).done == 5


async def test_a_workers_jobs_expire_and_then_are_gone(followed: Followed) -> None:
    async with followed.worker(Engine().mark, ttl=0.5, cleanup=0.1):
        job_id = await followed.post(2)
        states: list[State] = []
        async with asyncio.timeout(20):
            while (job := await followed.store.get(job_id)) is not None:
                states.append(job.state)
                await asyncio.sleep(0.01)  # of the last step nobody tells
    assert states[-1] is State.EXPIRED
    assert State.COMPLETED in states


async def test_a_small_job_does_not_wait_for_a_large_one(followed: Followed) -> None:
    engine = Engine()
    async with followed.worker(engine.mark, slots=2):
        large = await followed.post(500)
        small = await followed.post(5)
        await followed.ended(small)
        job = await followed.store.get(large)
        assert job is not None
        assert job.done < 250
        await followed.store.remove(large)


async def test_cancelling_takes_the_texts_from_the_engine_at_once(followed: Followed) -> None:
    engine = Engine(blocked=True)
    async with followed.worker(engine.mark):
        job_id = await followed.post(10)
        await engine.until(lambda: engine.running == 4)
        await followed.store.remove(job_id)
        await engine.until(lambda: engine.running == 0)
        assert len(engine.cancelled) == 4
        engine.go.set()
        other = await followed.post(2)
        assert (await followed.ended(other)).done == 2
        assert len(engine.begun) == 6


async def test_a_job_that_is_cancelled_while_it_is_claimed_keeps_no_slot(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, engine, claimed = followed.store.claim, Engine(blocked=True), asyncio.Event()
    cancelled = await followed.post(10)

    async def claim(limit: int) -> Any:
        if claims := await real(limit):
            await followed.store.remove(cancelled)
            claimed.set()
        return claims

    monkeypatch.setattr(followed.store, "claim", claim)
    async with asyncio.timeout(10), followed.worker(engine.mark, lease=60.0) as worker:
        await claimed.wait()
        while worker.active:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await engine.until(lambda: engine.running == 0)


async def test_a_job_that_is_cancelled_as_its_texts_are_begun_keeps_no_place(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is cancelled before its first step runs none of its code."""
    engine = Engine()
    async with followed.worker(engine.mark, slots=2) as worker:
        real, cancelled = worker._queue.take, asyncio.Event()

        def take() -> Any:
            text = real()
            if not cancelled.is_set():
                cancelled.set()
                # In the turn of the loop in which texts are begun, as the store's thread may tell of it.
                asyncio.get_running_loop().call_soon(followed.hear, job_id, [Event(1, "error", {})])
            return text

        monkeypatch.setattr(worker._queue, "take", take)
        job_id = await followed.post(10)
        await cancelled.wait()
        await followed.store.remove(job_id)
        assert (await followed.ended(await followed.post(10))).done == 10


@pytest.mark.parametrize("where", ["read", "mark"])
async def test_what_is_raised_for_a_text_is_its_own_error(followed: Followed, where: str) -> None:
    engine = Engine()
    work: Callable[[dict[str, str]], Awaitable[Any]] = getattr(engine, where)

    async def strike(fields: dict[str, str]) -> Any:
        if fields["respuesta"].endswith(" 1"):
            raise RuntimeError("secret detail")
        return await work(fields)

    setattr(engine, where, strike)
    async with followed.worker(engine.mark, engine.read):
        job_id = await followed.post(3)
        job = await followed.ended(job_id)
    assert (job.state, job.failed) == (State.COMPLETED, 1)
    (error,) = [row for row in await followed.store.results(job_id, 0, 9) if row["state"] == "failed"]
    assert (error["index"], error["code"]) == (1, "engine")
    assert "secret" not in str(error)


@pytest.mark.parametrize("part", ["claim", "renew", "totals", "record", "fields"])
async def test_a_fault_that_nobody_foresaw_ends_no_work(
    followed: Followed, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, struck, words = getattr(followed.store, part), asyncio.Event(), "secret of a pupil"

    async def strike(*arguments: Any) -> Any:
        if struck.is_set():
            return await real(*arguments)
        struck.set()
        raise KeyError(words)

    monkeypatch.setattr(followed.store, part, strike)
    engine = Engine(blocked=part == "renew")  # which is only asked about jobs that last
    async with followed.worker(engine.mark, lease=0.6):
        before = await followed.post(4)
        await asyncio.wait_for(struck.wait(), 10)
        engine.go.set()
        for job_id in (before, await followed.post(2)):
            assert (await followed.ended(job_id)).state is State.COMPLETED
    assert sorted(await indexes(followed.store, before)) == [0, 1, 2, 3]
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_text_that_the_store_cannot_read_is_its_own_error(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, tries, words = followed.store.fields, 0, "secret of a pupil"

    async def fields(job_id: str, index: int) -> dict[str, str] | None:
        nonlocal tries
        if index != 1:
            return await real(job_id, index)
        tries += 1
        raise ValueError(words)

    monkeypatch.setattr(followed.store, "fields", fields)
    async with followed.worker(Engine().mark):
        job_id = await followed.post(3)
        job = await followed.ended(job_id)
    assert (job.state, job.done, job.failed) == (State.COMPLETED, 3, 1)
    (error,) = [row for row in await followed.store.results(job_id, 0, 9) if row["state"] == "failed"]
    assert (error["index"], error["code"]) == (1, "lost")
    assert tries > 1, "a fault may pass"
    assert "secret" not in caplog.text


async def lose_texts(store: JobStore, job_id: str) -> None:
    if isinstance(store, RedisStore):
        await store._redis.delete(f"{PREFIX}:items:{job_id}")  # evicted: the server takes whole keys
    elif isinstance(store, SqliteStore):
        await store._run(store._all, "DELETE FROM items WHERE job = ?", job_id)


@pytest.mark.parametrize("held", [False, True])
async def test_texts_that_are_no_longer_there_are_errors_and_the_job_ends(
    followed: Followed, *, held: bool
) -> None:
    """Lost before the job is claimed, or while it is in our hands."""
    engine, store = Engine(blocked=True), followed.store
    job_id = await followed.post(10)
    if held:
        async with followed.worker(engine.mark, engine.read, lease=60.0):
            await engine.until(lambda: len(engine.ready) == 8)
            await lose_texts(store, job_id)
            engine.go.set()
            job = await followed.ended(job_id)
        marked = 8
    else:
        await store.claim(1)
        await store.record(job_id, [Finished(7, "A", Evaluation(3, "x"))], 0.1)
        await store.release([job_id])
        await lose_texts(store, job_id)
        async with followed.worker(engine.mark, lease=60.0):
            job = await followed.ended(job_id)
        marked = 1
    assert (job.state, job.done, job.failed) == (State.COMPLETED, 10, 10 - marked)
    rows = await store.results(job_id, 0, 99)
    assert sorted(row["index"] for row in rows) == list(range(10))
    assert {row["code"] for row in rows if row["state"] == "failed"} == {"lost"}
    totals = await store.totals()
    assert (totals.waiting_items, totals.jobs) == (0, {State.COMPLETED: 1})


async def test_a_job_that_redis_has_evicted_keeps_nobody_from_work(redis: RedisServer) -> None:
    store = RedisStore(redis.url, lease=2.0)
    await store._redis.flushall()
    followed = Followed(store)
    await store.open(followed.hear)
    await store._redis.zadd(f"{PREFIX}:open", {"evicted": 1})
    async with followed.worker(Engine().mark):
        assert (await followed.ended(await followed.post(3))).done == 3
        assert await store.get("evicted") is None
    assert (await store.totals()).waiting_items == 0
    await store.close()


async def test_the_news_go_on_after_one_that_nobody_can_read(redis: RedisServer) -> None:
    store, heard = RedisStore(redis.url, lease=2.0), asyncio.Event()
    await store.open(lambda job_id, _: heard.set() if job_id == "known" else None)
    await store._redis.publish(NEWS, b"[1,")
    async with asyncio.timeout(10):
        while not heard.is_set():
            await store._redis.publish(NEWS, b'["known",[]]')
            await asyncio.sleep(0.1)
    await store.close()


async def test_a_worker_ends_though_news_come_while_it_is_told_to(followed: Followed) -> None:
    async with asyncio.timeout(10):
        async with followed.worker(Engine().mark):
            await followed.ended(await followed.post(1))
            followed.hear("", ())  # in the same turn of the loop as the end


async def test_a_lost_engine_leaves_its_texts_to_the_next_worker(followed: Followed) -> None:
    lost = asyncio.Event()

    async def mark(_: dict[str, str]) -> Outcome:
        raise EngineLost

    job_id = await followed.post(3)
    async with followed.worker(mark, on_lost=lost.set):
        await asyncio.wait_for(lost.wait(), 10)
    engine = Engine()
    async with followed.worker(engine.mark):
        assert (await followed.ended(job_id)).state is State.COMPLETED
    assert sorted(await indexes(followed.store, job_id)) == [0, 1, 2]


async def test_leaving_records_what_is_finished_and_gives_back_the_rest(followed: Followed) -> None:
    first = Engine()
    job_id = await followed.post(60)
    async with followed.worker(first.mark, slots=1, batch=7):
        await first.until(lambda: len(first.begun) == 20)
    second = Engine()
    async with followed.worker(second.mark):
        await followed.ended(job_id)
    assert sorted(await indexes(followed.store, job_id)) == list(range(60))
    assert len(first.begun) + len(second.begun) == 60


async def test_a_worker_that_ends_begins_no_text_more(followed: Followed) -> None:
    engine = Engine(blocked=True)
    job_id = await followed.post(10)
    async with followed.worker(engine.mark, engine.read, slots=2):
        await engine.until(lambda: len(engine.ready) == 4 and engine.running == 2)
        asyncio.get_running_loop().call_later(0.2, engine.go.set)  # while it is about to end
    assert len(engine.begun) == 2
    assert engine.cancelled == []
    assert len(await indexes(followed.store, job_id)) == 2


async def test_a_text_whose_cancellation_is_forgotten_is_not_begun(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for forgets one that comes in the turn in which what it waits for does."""
    engine, asked, real = Engine(), asyncio.Event(), followed.store.fields

    async def fields(job_id: str, index: int) -> dict[str, str] | None:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await real(job_id, index)

    monkeypatch.setattr(followed.store, "fields", fields)
    async with followed.worker(engine.mark, engine.read):
        await followed.post(1)
        await asked.wait()
    await engine.until(lambda: len(engine.ready) == 1)
    await asyncio.sleep(0)
    assert engine.begun == []


async def test_a_job_that_is_let_go_begins_no_text_more(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, released = Engine(blocked=True), asyncio.Event()
    real = followed.store.release

    async def no_part() -> int:
        return 0

    async def release(job_ids: Any) -> None:
        await real(job_ids)
        released.set()

    monkeypatch.setattr(followed.store, "release", release)
    await followed.post(10)
    async with followed.worker(engine.mark, engine.read, slots=2) as worker:
        await engine.until(lambda: len(engine.ready) == 4 and engine.running == 2)
        monkeypatch.setattr(followed.store, "share", no_part)
        while worker.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        engine.go.set()
        async with asyncio.timeout(10):
            await released.wait()
        begun = [int(text.split()[1]) for text in engine.begun]
        (claim,) = await followed.store.claim(1)
    assert len(begun) == 2
    assert claim.open == [index for index in range(10) if index not in begun]


async def test_two_replicas_on_one_redis_share_the_work_and_double_nothing(redis: RedisServer) -> None:
    stores = [RedisStore(redis.url, lease=2.0) for _ in range(2)]
    await stores[0]._redis.flushall()
    replicas, engines = [Followed(store) for store in stores], [Engine(), Engine()]
    for store, replica in zip(stores, replicas, strict=True):
        await store.open(replica.hear)
    async with replicas[0].worker(engines[0].mark), replicas[1].worker(engines[1].mark):
        jobs = [await replicas[n % 2].post(20) for n in range(6)]
        for job_id in jobs:
            assert (await replicas[0].ended(job_id)).done == 20
            assert sorted(await indexes(stores[1], job_id)) == list(range(20))
            names = [event.name for event in await stores[0].events(job_id, 0, 99)]
            assert names.count("complete") == 1
    assert len(engines[0].begun) + len(engines[1].begun) == 120
    for store in stores:
        await store.close()


async def test_an_added_replica_gets_its_part_of_what_another_has_begun(redis: RedisServer) -> None:
    stores = [RedisStore(redis.url, lease=60.0) for _ in range(2)]
    await stores[0]._redis.flushall()
    replicas, engines = [Followed(store) for store in stores], [Engine(blocked=True), Engine(blocked=True)]
    for store, replica in zip(stores, replicas, strict=True):
        await store.open(replica.hear)
    jobs = [await replicas[0].post(40) for _ in range(6)]
    async with replicas[0].worker(engines[0].mark, lease=60.0) as first:
        await engines[0].until(lambda: engines[0].running == 4)
        assert first.active == 6
        async with replicas[1].worker(engines[1].mark, lease=60.0) as second:
            engines[0].go.set()
            await engines[1].until(lambda: engines[1].running == 4)
            engines[1].go.set()
            # One that comes later has its turns at once, behind six that are large.
            late = await replicas[1].post(2)
            await replicas[1].ended(late)
            for job_id in jobs:
                assert (await replicas[0].ended(job_id)).done == 40
                assert sorted(await indexes(stores[1], job_id)) == list(range(40))
            assert (first.active, second.active) == (0, 0)
    assert len(engines[0].begun) + len(engines[1].begun) == 242, "what was begun is not begun again"
    for store in stores:
        await store.close()


async def test_leaving_waits_for_no_store_that_is_mute(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, lease=5.0, timeout=60.0)
        followed, engine = Followed(store), Engine()
        await store.open(followed.hear)
        async with asyncio.timeout(20):
            async with followed.worker(engine.mark, slots=1, leaving=0.5):
                await followed.post(500)
                await engine.until(lambda: len(engine.begun) > 5)
                server.freeze()
        server.thaw()
        await store.close()


async def test_a_silent_replica_loses_its_jobs_and_can_record_no_more(redis: RedisServer) -> None:
    silent, other = (RedisStore(redis.url, lease=0.6) for _ in range(2))
    await silent._redis.flushall()
    replica = Followed(other)
    await silent.open(lambda _, __: None)
    await other.open(replica.hear)
    job_id = await replica.post(4)
    (claim,) = await silent.claim(1)  # and not a word after it
    async with replica.worker(Engine().mark, lease=0.6):
        job = await replica.ended(job_id)
    assert job.done == 4
    assert await silent.renew([claim.job.id]) == set()
    assert await indexes(other, job_id) == await indexes(silent, job_id)
    await silent.close()
    await other.close()


@pytest.mark.parametrize("behind", [0.45, 0.6])
async def test_a_silent_replicas_job_is_anothers_within_the_lease_whenever_that_one_looks(
    redis: RedisServer, behind: float
) -> None:
    lease, engine = 2.0, Engine()
    silent, other = (RedisStore(redis.url, lease=lease) for _ in range(2))
    await silent._redis.flushall()
    replica = Followed(other)
    await silent.open(lambda _, __: None)
    await other.open(replica.hear)
    job_id = await replica.post(1)
    await silent.share()
    await silent.claim(1)
    claimed = time.monotonic()
    await asyncio.sleep(behind)
    async with replica.worker(engine.mark, lease=lease):
        await engine.until(lambda: bool(engine.begun))
        # Looks a third of a lease apart, at a key that lives for all of it, would be 0.45 and 0.6 s late.
        assert time.monotonic() - claimed < lease + 0.3
        await replica.ended(job_id)
    await silent.close()
    await other.close()


async def test_a_server_that_goes_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    store = RedisStore(server.url, lease=1.0, timeout=1.0)
    followed, engine = Followed(store), Engine()
    await store.open(followed.hear)
    try:
        async with followed.worker(engine.mark, slots=1, batch=2, lease=1.0):
            job_id = await followed.post(30)
            await engine.until(lambda: len(engine.begun) == 5)
            server.kill()
            await asyncio.sleep(1.5)  # longer than the lease
            server.start()
            job = await followed.ended(job_id)
        assert (job.state, job.done) == (State.COMPLETED, 30)
        assert sorted(await indexes(store, job_id)) == list(range(30))
    finally:
        await store.close()
        server.kill()


async def test_a_redis_that_comes_back_without_its_last_second_costs_a_second_marking(
    redis: RedisServer,
) -> None:
    """As with everysec after a power cut, or at a replica that was a moment behind."""
    store, gate = RedisStore(redis.url, lease=1.0), asyncio.Semaphore(0)
    await store._redis.flushall()
    followed, begun = Followed(store), Counter[str]()
    await store.open(followed.hear)

    async def mark(fields: dict[str, str]) -> Outcome:
        await gate.acquire()
        begun[fields["respuesta"].split()[1]] += 1
        return Evaluation(3, "x")

    async def recorded(texts: int) -> None:
        with followed.feed.follow(job_id) as follower:
            while (job := await store.get(job_id)) is None or job.done < texts:
                await follower.rung(5)

    async with followed.worker(mark, slots=1, batch=2, lease=1.0):
        job_id = await followed.post(10)
        for done in (2, 4):
            gate.release()
            gate.release()
            await recorded(done)
        kept = {key: await store._redis.dump(key) for key in await store._redis.keys("*")}
        gate.release()
        gate.release()
        await recorded(6)
        for key, value in kept.items():
            await store._redis.restore(key, 0, value, replace=True)
        for _ in range(20):
            gate.release()
        job = await followed.ended(job_id)
    assert (job.state, job.done) == (State.COMPLETED, 10)
    assert sorted(await indexes(store, job_id)) == list(range(10))
    assert begun.keys() == {str(n) for n in range(10)}
    await store.close()


async def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    followed, engine = Followed(store), Engine(blocked=True)
    await store.open(followed.hear)
    job_id = await followed.post(20)

    def limit(pages: int) -> None:
        store._db.execute(f"PRAGMA max_page_count = {pages}")

    async with followed.worker(engine.mark, slots=20, batch=20):
        await engine.until(lambda: engine.running == 20)
        await store._run(limit, 1)  # not one page more than there are
        engine.go.set()
        with pytest.raises(Exception, match="no room") as refused:
            await followed.post(2000)
        assert refused.value.status == 503  # type: ignore[attr-defined]
        await store._run(limit, 100_000)
        assert (await followed.ended(job_id)).done == 20
    assert sorted(await indexes(store, job_id)) == list(range(20))
    await store.close()


async def test_a_full_redis_is_said_and_loses_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, lease=5.0)
        followed, engine = Followed(store), Engine(blocked=True)
        await store.open(followed.hear)
        async with followed.worker(engine.mark, slots=20, batch=20):
            job_id = await followed.post(20)
            await engine.until(lambda: engine.running == 20)
            await store._redis.config_set("maxmemory", "1")
            engine.go.set()
            with pytest.raises(StoreUnavailable, match="no room left"):
                await followed.post(5)
            await store._redis.config_set("maxmemory", "0")
            assert (await followed.ended(job_id)).done == 20
        assert sorted(await indexes(store, job_id)) == list(range(20))
        await store.close()


DAY = 86_400.0


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_wall_clock_that_is_set_ends_nobodys_time(
    tmp_path: Path, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the embedded store; Redis' time is its server's, whatever ours is."""
    store = SqliteStore(tmp_path / "jobs.db")
    followed, engine = Followed(store), Engine()
    await store.open(followed.hear)
    before = await followed.post(2)
    async with followed.worker(engine.mark):
        await followed.ended(before)
        set_clock(monkeypatch, jump)
        job = await followed.ended(await followed.post(2))
        assert await followed.store.expire(3600) == 0
    assert sorted(await indexes(followed.store, before)) == [0, 1]
    assert job.ended is not None
    assert 0 <= job.ended - job.created < 60
    assert 0 <= job.worked < 60
    await store.close()


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_job_that_waits_is_kept_over_a_restart_on_another_day(
    tmp_path: Path, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open(lambda _, __: None)
    job_id = await Followed(store).post(3)
    await store.close()
    set_clock(monkeypatch, jump)
    store = SqliteStore(tmp_path / "jobs.db")
    followed = Followed(store)
    await store.open(followed.hear)
    assert await store.expire(3600) == 0
    assert (await store.totals()).oldest_seconds >= 0
    async with followed.worker(Engine().mark):
        assert (await followed.ended(job_id)).done == 3
    await store.close()


def set_clock(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
