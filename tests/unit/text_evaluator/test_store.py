"""What every store promises, asked of both: SQLite, and a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from dataclasses import replace

import pytest

from predictors.text_evaluator.evaluation import Evaluation, ItemError
from predictors.text_evaluator.jobs.model import Finished, Job, NewJob, State
from predictors.text_evaluator.jobs.redis import RedisStore
from predictors.text_evaluator.jobs.sqlite import SqliteStore
from predictors.text_evaluator.jobs.store import JobStore, Quota, Refused
from tests.support.redis import Between, RedisServer

QUOTA = Quota(jobs=10, caller_items=100)


def new(owner: str = "ada", size: int = 3, key: str | None = None, digest: str = "d") -> NewJob:
    items = [
        {"id_alumno": f"A{n}", "curso": "3r ESO", "consigna": "Tema", "respuesta": f"text {n}"}
        for n in range(size)
    ]
    return NewJob(str(uuid.uuid4()), owner, items, key, digest)


def marks(*indexes: int) -> list[Finished]:
    return [Finished(index, f"A{index}", Evaluation(index % 6, f"feedback {index}")) for index in indexes]


async def test_a_job_from_its_beginning_to_its_end(store: JobStore) -> None:
    job, is_new = await store.create(new(size=3), QUOTA)
    assert (is_new, job.state, job.total, job.done) == (True, State.QUEUED, 3, 0)
    (claim,) = await store.claim(10)
    assert claim.open == [0, 1, 2]
    assert await store.fields(job.id, 1) == {
        "id_alumno": "A1", "curso": "3r ESO", "consigna": "Tema", "respuesta": "text 1"
    }  # fmt: skip
    half = await store.record(job.id, marks(2, 0), 1.5)
    assert half is not None
    assert (half.state, half.done, half.worked) == (State.PROCESSING, 2, 1.5)
    whole = await store.record(job.id, [Finished(1, "A1", ItemError("length", "cut"))], 0.5)
    assert whole is not None
    assert (whole.state, whole.done, whole.failed, whole.worked) == (State.COMPLETED, 3, 1, 2.0)
    known = await store.get(job.id)
    assert known is not None
    assert replace(known, ended=whole.ended) == whole
    assert known.ended is not None
    assert 0 <= known.ended - known.created < 60
    assert await store.fields(job.id, 1) is None
    rows = await store.results(job.id, 0, 10)
    assert [(row["index"], row["state"], row.get("nota")) for row in rows] == [
        (2, "completed", 2), (0, "completed", 0), (1, "failed", None)
    ]  # fmt: skip
    assert await store.results(job.id, 2, 10) == rows[2:]
    events = await store.events(job.id, 0, 10)
    assert [(event.id, event.name) for event in events] == [
        (1, "batch_complete"), (2, "batch_complete"), (3, "complete")
    ]  # fmt: skip
    assert events[0].data["data"]["results"][0] == {
        "index": 2, "id_alumno": "A2", "nota": 2, "feedback": "feedback 2"
    }  # fmt: skip
    assert events[1].data["data"]["results"] == []
    assert events[1].data["data"]["errors"][0]["code"] == "length"
    assert await store.events(job.id, 2, 10) == events[2:]
    assert await store.claim(10) == []


async def test_a_job_of_errors_alone_has_failed(store: JobStore) -> None:
    job, _ = await store.create(new(size=1), QUOTA)
    await store.claim(1)
    ended = await store.record(job.id, [Finished(0, "A0", ItemError("engine", "x"))], 0)
    assert ended is not None
    assert ended.state is State.FAILED


async def test_a_text_keeps_its_first_outcome(store: JobStore) -> None:
    job, _ = await store.create(new(size=2), QUOTA)
    await store.claim(1)
    await store.record(job.id, marks(0), 1)
    again = await store.record(job.id, [Finished(0, "A0", Evaluation(5, "other")), *marks(1)], 1)
    assert again is not None
    assert again.done == 2
    rows = await store.results(job.id, 0, 10)
    assert [(row["index"], row["nota"]) for row in rows] == [(0, 0), (1, 1)]


async def test_what_is_held_is_not_claimed_twice_until_it_is_released(store: JobStore) -> None:
    job, _ = await store.create(new(), QUOTA)
    assert len(await store.claim(10)) == 1
    assert await store.claim(10) == []
    await store.record(job.id, marks(1), 1)
    await store.release([job.id])
    (claim,) = await store.claim(10)
    assert claim.open == [0, 2]


async def test_claims_are_limited_and_oldest_first_however_quickly_jobs_come(store: JobStore) -> None:
    quota = Quota(jobs=30, caller_items=100)
    jobs = [(await store.create(new(), quota))[0].id for _ in range(30)]
    assert [job.id for job in await store.of("ada", 30)] == jobs[::-1]
    assert [claim.job.id for claim in await store.claim(20)] == jobs[:20]
    assert [claim.job.id for claim in await store.claim(20)] == jobs[20:]


async def test_an_idempotency_key_is_one_job_of_one_caller(store: JobStore) -> None:
    first, _ = await store.create(new(key="k"), QUOTA)
    assert await store.create(new(key="k"), QUOTA) == (first, False)
    other, is_new = await store.create(new("bob", key="k"), QUOTA)
    assert is_new
    assert other.id != first.id
    with pytest.raises(Refused) as refused:
        await store.create(new(key="k", digest="another"), QUOTA)
    assert refused.value.reason == "conflict"


async def test_a_key_is_never_taken_for_anothers_whatever_names_and_keys_are_made_of(
    store: JobStore,
) -> None:
    pairs = [("ada", "x:y"), ("ada:x", "y"), ("", "ada:x:y"), ("3:ada", "x"), ("3", "ada:x")]
    jobs = [(await store.create(new(owner, 1, key), QUOTA))[0] for owner, key in pairs]
    assert [job.owner for job in jobs] == [owner for owner, _ in pairs]
    assert len({job.id for job in jobs}) == len(pairs)


async def test_fifty_posts_at_once_under_one_key_are_one_job(store: JobStore) -> None:
    made = await asyncio.gather(*(store.create(new(key="k"), QUOTA) for _ in range(50)))
    assert len({job.id for job, _ in made}) == 1
    assert sum(is_new for _, is_new in made) == 1


async def test_quotas(store: JobStore) -> None:
    await store.create(new("ada", 60), QUOTA)
    with pytest.raises(Refused) as refused:
        await store.create(new("ada", 41), QUOTA)
    assert refused.value.reason == "items"
    job, _ = await store.create(new("ada", 40), QUOTA)
    await store.create(new("bob", 41), QUOTA)
    await store.remove(job.id)
    await store.create(new("ada", 40), QUOTA)
    with pytest.raises(Refused) as refused:
        await store.create(new("eve", 1), Quota(jobs=3, caller_items=100))
    assert refused.value.reason == "jobs"


async def test_what_is_done_makes_room(store: JobStore) -> None:
    quota = Quota(jobs=1, caller_items=3)
    job, _ = await store.create(new(), quota)
    await store.claim(1)
    await store.record(job.id, marks(0, 1, 2), 1)
    await store.create(new(), quota)


async def test_suspects_are_named_by_every_claim_until_they_have_an_outcome(store: JobStore) -> None:
    job, _ = await store.create(new(size=5), QUOTA)
    (claim,) = await store.claim(1)
    assert claim.suspects == frozenset()
    await store.suspect(job.id, [1, 3])
    await store.suspect(job.id, [3, 4])
    await store.record(job.id, marks(0, 3), 1)
    for suspects in ({1, 4}, {1, 4}):
        await store.release([job.id])
        (claim,) = await store.claim(1)
        assert (claim.open, claim.suspects) == ([1, 2, 4], suspects)
    await store.record(job.id, marks(1, 2, 4), 1)
    assert await everything_named(store, "suspects") == 0


async def test_suspects_of_a_job_that_is_no_longer_ours_are_not_noted(store: JobStore) -> None:
    job, _ = await store.create(new(), QUOTA)
    await store.claim(1)
    await store.suspect(job.id, [0])
    await store.remove(job.id)
    await store.suspect(job.id, [1])
    assert await everything_named(store, "suspects") == 0


async def everything_named(store: JobStore, kind: str) -> int:
    if isinstance(store, RedisStore):
        return len(await store._redis.keys(f"*:{kind}:*"))
    assert isinstance(store, SqliteStore)
    return (await store._run(store._all, f"SELECT count(*) FROM {kind}"))[0][0]


async def test_cancelling_ends_a_job_and_forgets_its_texts(store: JobStore) -> None:
    job, _ = await store.create(new(), QUOTA)
    await store.claim(1)
    await store.record(job.id, marks(0), 1)
    removed = await store.remove(job.id)
    assert removed is not None
    assert removed.state is State.CANCELLED
    assert await store.results(job.id, 0, 10) == []
    (event,) = await store.events(job.id, 0, 10)
    assert (event.id, event.name, event.data["code"]) == (2, "error", "cancelled")
    assert await store.record(job.id, marks(1), 1) is None
    assert await store.claim(10) == []


async def test_a_job_that_ends_as_it_is_cancelled_is_removed_as_the_ended_one_it_is(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and its removal; SQLite does both in one step."""
    store, worker = (RedisStore(redis.url, lease=2.0) for _ in range(2))
    await store._redis.flushall()
    job, _ = await store.create(new(size=1), QUOTA)
    await worker.claim(1)
    real = store.get

    async def get(job_id: str) -> Job | None:
        monkeypatch.undo()
        seen = await real(job_id)
        await worker.record(job_id, marks(0), 1)
        return seen

    monkeypatch.setattr(store, "get", get)
    removed = await store.remove(job.id)
    assert removed is not None
    assert (removed.state, removed.done) == (State.COMPLETED, 1)
    assert await store.get(job.id) is None
    await store.close()
    await worker.close()


async def test_removing_an_ended_job_leaves_nothing(store: JobStore) -> None:
    job, _ = await store.create(new(size=1, key="k"), QUOTA)
    await store.claim(1)
    await store.record(job.id, marks(0), 1)
    await store.remove(job.id)
    assert await store.get(job.id) is None
    assert await store.of("ada", 10) == []
    assert await store.remove(job.id) is None
    _, is_new = await store.create(new(size=1, key="k"), QUOTA)
    assert is_new


async def test_time_is_up_in_two_steps(store: JobStore) -> None:
    job, _ = await store.create(new(size=1), QUOTA)
    running, _ = await store.create(new(), QUOTA)
    await store.claim(2)
    await store.record(job.id, marks(0), 1)
    assert await store.expire(60) == 0
    await asyncio.sleep(0.3)
    assert await store.expire(0.2) == 1
    expired = await store.get(job.id)
    assert expired is not None
    assert expired.state is State.EXPIRED
    assert await store.results(job.id, 0, 10) == []
    await asyncio.sleep(0.2)
    assert await store.expire(0.2) == 0
    assert await store.get(job.id) is None
    assert await store.get(running.id) is not None


async def test_time_counts_from_the_end_of_a_job_however_long_ago_it_was_posted(store: JobStore) -> None:
    job, _ = await store.create(new(size=1), QUOTA)
    await asyncio.sleep(1.2)
    await store.claim(1)
    await store.record(job.id, marks(0), 1)
    assert await store.expire(1) == 0
    kept = await store.get(job.id)
    assert kept is not None
    assert kept.state is State.COMPLETED
    assert len(await store.results(job.id, 0, 10)) == 1


async def test_a_callers_jobs_newest_first(store: JobStore) -> None:
    ids = [(await store.create(new(owner), QUOTA))[0].id for owner in ("ada", "bob", "ada")]
    assert [job.id for job in await store.of("ada", 10)] == [ids[2], ids[0]]
    assert [job.id for job in await store.of("ada", 1)] == [ids[2]]
    assert [job.id for job in await store.of(None, 2)] == [ids[2], ids[1]]


async def test_totals(store: JobStore) -> None:
    job, _ = await store.create(new(size=5), QUOTA)
    await store.create(new(size=2), QUOTA)
    await store.claim(1)
    await store.record(job.id, marks(0, 1), 1)
    totals = await store.totals()
    assert Counter(totals.jobs) == Counter({State.PROCESSING: 1, State.QUEUED: 1})
    assert totals.waiting_items == 5
    assert totals.oldest_seconds >= 0
    await asyncio.sleep(0.3)
    assert (await store.totals()).oldest_seconds - totals.oldest_seconds > 0.29
    await store.remove(job.id)
    assert (await store.totals()).jobs == {State.CANCELLED: 1, State.QUEUED: 1}
    await store.remove(job.id)
    assert (await store.totals()).jobs == {State.QUEUED: 1}
    (claim,) = await store.claim(1)
    await store.record(claim.job.id, marks(0, 1), 1)
    totals = await store.totals()
    assert (totals.jobs, totals.waiting_items, totals.oldest_seconds) == ({State.COMPLETED: 1}, 0, 0)
    await store.expire(-1)
    await store.expire(-1)
    assert (await store.totals()).jobs == {}


TEXT, FEEDBACK = b"secret of a pupil", b"secret of a teacher"


async def kept_by(store: RedisStore) -> bytes:
    """All that is in the server, but for what it has yet to drop from its append-only file."""
    redis, found = store._redis, list[bytes]()
    for key in await redis.keys("*"):
        match await redis.type(key):
            case b"string":
                parts = [await redis.get(key)]
            case b"hash":
                parts = [*(await redis.hgetall(key)).keys(), *await redis.hvals(key)]
            case b"list":
                parts = await redis.lrange(key, 0, -1)
            case b"set":
                parts = list(await redis.smembers(key))
            case b"zset":
                parts = await redis.zrange(key, 0, -1)
            case kind:
                assert kind == b"stream"
                parts = [value for _, fields in await redis.xrange(key) for value in fields.values()]
        found += [key, *parts]
    return b"\n".join(found)


@pytest.mark.parametrize(("marked", "way"), [(0, "removed"), (1, "removed"), (2, "removed"), (2, "expired")])
async def test_what_is_forgotten_is_in_no_key_of_redis(redis: RedisServer, marked: int, way: str) -> None:
    """As test_sqlite.py says it of files."""
    store = RedisStore(redis.url, lease=2.0)
    await store._redis.flushall()
    text = {"id_alumno": "A", "curso": "c", "consigna": "t", "respuesta": TEXT.decode()}
    job, _ = await store.create(NewJob(str(uuid.uuid4()), "ada", [text] * 2, "key"), QUOTA)
    await store.claim(9)
    rows = [Finished(index, "A", Evaluation(3, FEEDBACK.decode())) for index in range(marked)]
    await store.record(job.id, rows, 0.1)
    assert (TEXT in await kept_by(store)) is (marked < 2), "an ended job's texts are needed no more"
    assert (FEEDBACK in await kept_by(store)) is (marked > 0)
    await (store.remove(job.id) if way == "removed" else store.expire(-1))
    left = await kept_by(store)
    assert TEXT not in left
    assert FEEDBACK not in left
    await store.close()


async def worked_through(store: RedisStore, between: Between | None) -> list[object]:
    """What each command says of two jobs; ``between``: with every answer lost once."""

    def lose() -> None:
        if between is not None:
            between.lose_an_answer()

    await store._redis.flushall()
    said: list[object] = []
    names: dict[str, str] = {}
    for name in ("first", "second"):
        lose()
        job, _ = await store.create(new(size=3, key=name), QUOTA)
        names[job.id] = name
        said.append((job.state, job.total))
    lose()
    said.append((await store.totals()).waiting_items)
    for _ in range(2):
        lose()
        said += [(names[claim.job.id], claim.open) for claim in await store.claim(1)]
    first, second = names
    lose()
    said.append({names[job_id] for job_id in await store.renew([first, second])})
    for indexes in ((1,), (0, 2)):
        lose()
        job = await store.record(first, marks(*indexes), 1.5)
        assert job is not None
        said.append((job.state, job.done, job.worked))
    said.append([row["index"] for row in await store.results(first, 0, 9)])
    lose()
    removed = await store.remove(second)
    assert removed is not None
    said.append(removed.state)
    lose()
    said.append(await store.get(second) == removed)
    said.append((await store.totals()).waiting_items)
    return said


async def test_an_answer_that_is_lost_with_its_connection_changes_nothing(redis: RedisServer) -> None:
    async with Between(redis.port) as between:
        store = RedisStore(between.url, lease=5.0)
        # Once first, so that the server knows the scripts: what is lost then is what they said.
        expected = await worked_through(store, None)
        assert expected[2] == 6
        assert await worked_through(store, between) == expected
        await store.close()


async def test_a_break_of_the_news_that_the_client_mends_is_heard_of(redis: RedisServer) -> None:
    heard = asyncio.Queue[str]()
    store = RedisStore(redis.url, lease=5.0)
    await store.open(lambda job_id, _: heard.put_nowait(job_id))
    async with asyncio.timeout(20):
        assert await heard.get() == ""
        await store._redis.client_kill_filter(_type="pubsub")
        assert await heard.get() == "", "everybody looks for themselves"
    await store.close()


async def test_a_key_that_is_another_jobs_by_now_stays_its_own(store: JobStore) -> None:
    first, _ = await store.create(new(key="k"), QUOTA)
    await store.remove(first.id)
    await asyncio.sleep(0.3)
    assert await store.expire(0.2) == 1
    second, is_new = await store.create(new(key="k"), QUOTA)
    assert is_new
    await store.remove(first.id)
    again, is_new = await store.create(new(key="k"), QUOTA)
    assert (again.id, is_new) == (second.id, False)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("appendfsync", "always", ""),
        ("appendfsync", "everysec", "its appendfsync is everysec, not always"),
        ("maxmemory-policy", "allkeys-lru", "its maxmemory-policy is allkeys-lru, not noeviction"),
    ],
)
async def test_a_redis_that_may_forget_is_warned_of(
    redis: RedisServer, setting: str, value: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(redis.url, lease=2.0)
    before = (await store._redis.config_get(setting))[setting]
    await store._redis.config_set(setting, value)
    try:
        await store.open(lambda _, __: None)
    finally:
        await store._redis.config_set(setting, before)
        await store.close()
    assert ("may lose" in caplog.text) is bool(said)
    assert said in caplog.text


async def test_a_job_of_two_thousand_texts(store: JobStore) -> None:
    job, _ = await store.create(new(size=2000), Quota(1, 10_000))
    (claim,) = await store.claim(1)
    assert claim.open == list(range(2000))
    for start in range(0, 2000, 100):
        await store.record(job.id, marks(*range(start, start + 100)), 0.1)
    ended = await store.get(job.id)
    assert ended is not None
    assert (ended.state, ended.done) == (State.COMPLETED, 2000)
    assert [row["index"] for row in await store.results(job.id, 0, 2000)] == list(range(2000))
