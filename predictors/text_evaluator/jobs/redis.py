"""Jobs in Redis or Valkey, for many replicas: each change is one script, so it is whole or not at all.

A job is held by a lease that its worker renews; every write of the worker checks it. The job's log is a
stream whose ids are ``<n>-0``. Time is the server's alone: no replica's clock matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
from redis.exceptions import OutOfMemoryError, RedisError

from predictors.runtime.errors import LoadError
from predictors.runtime.redis import connect
from predictors.text_evaluator.jobs.model import (
    Event,
    Finished,
    Job,
    NewJob,
    State,
    ended_event,
    recorded,
    unfinished,
)
from predictors.text_evaluator.jobs.scripts import (
    CLAIM,
    CREATE,
    EXPIRE,
    RECORD,
    RELEASE,
    REMOVE,
    RENEW,
    SHARE,
    SUSPECT,
)
from predictors.text_evaluator.jobs.store import (
    LOOKS,
    Claim,
    Listener,
    Quota,
    Refused,
    StoreUnavailable,
    Totals,
)

logger = logging.getLogger(__name__)

PREFIX = "{quintet:text_evaluator}"
"""In braces: a cluster has to keep all of it on one node, which the scripts need. The client asks one server
(or what stands in front of it) and follows no cluster's redirections."""
NEWS = f"{PREFIX}:news"
_RETRY = 0.5  # seconds


class RedisStore:
    """``lease``: seconds within which a silent worker's jobs are another's, who looks LOOKS times in it."""

    def __init__(self, url: str, password: str = "", *, lease: float, timeout: float = 5.0) -> None:
        self._worker = os.urandom(8).hex()
        self._lease = int(lease * 1000 * (LOOKS - 1) / LOOKS)
        self._timeout = timeout
        self._redis = connect(url, password=password, timeout=timeout)
        script = self._redis.register_script
        self._create, self._claim, self._renew = script(CREATE), script(CLAIM), script(RENEW)
        self._release, self._record, self._remove = script(RELEASE), script(RECORD), script(REMOVE)
        self._expire, self._share, self._suspect = script(EXPIRE), script(SHARE), script(SUSPECT)
        self._listener: Listener = lambda _, __: None
        self._listening: asyncio.Task[None] | None = None

    async def open(self, listener: Listener) -> None:
        """Raises LoadError when the server does not answer."""
        self._listener = listener
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise LoadError(f"The job store does not answer ({type(error).__name__}).") from None
        for shortcoming in await self._shortcomings():
            logger.warning("The job store may lose what was accepted: %s.", shortcoming)
        self._listening = asyncio.create_task(self._listen())

    async def _shortcomings(self) -> list[str]:
        """Why this server does not keep what a store promises over a power cut; see the README."""
        try:
            said = await self._redis.config_get("append*") | await self._redis.config_get("maxmemory-policy")
        except RedisError:  # many a managed server has no CONFIG
            return ["it does not say how durable it is (CONFIG GET)"]
        asked = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        return [
            f"its {name} is {said.get(name)}, not {needed}"
            for name, needed in asked.items()
            if said.get(name) != needed
        ]

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        await self._redis.aclose()

    async def create(self, new: NewJob, quota: Quota) -> tuple[Job, bool]:
        # In a thread: megabytes would keep everybody waiting.
        fields = await asyncio.to_thread(lambda: [orjson.dumps(one) for one in new.items])
        head = [PREFIX, new.id, new.owner, new.key or "", new.digest, quota.jobs, quota.caller_items]
        async with _answering():
            said, *rest = await self._create(args=[*head, *fields])
        if said == b"refused":
            raise Refused(rest[0].decode())
        job = _job(rest[0].decode(), _pairs(rest[1:]))
        assert job is not None
        return job, said == b"new"

    async def get(self, job_id: str) -> Job | None:
        async with _answering():
            return _job(job_id, await self._redis.hgetall(_key("job", job_id)))

    async def of(self, owner: str | None, limit: int) -> list[Job]:
        key = f"{PREFIX}:jobs" if owner is None else _key("owner", owner)
        async with _answering():
            ids = await self._redis.zrevrange(key, 0, limit - 1)
            jobs = [await self.get(job_id.decode()) for job_id in ids]
        return [job for job in jobs if job is not None]

    async def results(self, job_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        async with _answering():
            rows = await self._redis.lrange(_key("results", job_id), after, after + limit - 1)
        return [orjson.loads(row) for row in rows]

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        async with _answering():
            entries = await self._redis.xrange(_key("events", job_id), f"({after}-0", "+", limit)
        return [
            Event(int(number.split(b"-")[0]), fields[b"name"].decode(), orjson.loads(fields[b"data"]))
            for number, fields in entries
        ]

    async def remove(self, job_id: str) -> Job | None:
        if (job := await self.get(job_id)) is None:
            return None
        name, data = ended_event(replace(job, state=State.CANCELLED))
        async with _answering():
            seen = "ended" if job.state.ended else "open"
            found = await self._remove(args=[PREFIX, job_id, name, orjson.dumps(data), seen])
        # As it was when it was removed: it may have ended since we looked. Nothing: the script came twice.
        return _job(job_id, _pairs(found)) or job

    async def share(self) -> int:
        async with _answering():
            return await self._share(args=[PREFIX, self._worker, self._lease])

    async def fields(self, job_id: str, index: int) -> dict[str, str] | None:
        async with _answering():
            found = await self._redis.hget(_key("items", job_id), str(index))
        return None if found is None else orjson.loads(found)

    async def claim(self, limit: int) -> list[Claim]:
        async with _answering():
            call = os.urandom(8).hex()
            claimed = await self._claim(args=[PREFIX, self._worker, self._lease, limit, call])
        claims = []
        for job_id, raw, indexes, suspects in claimed:
            job = _job(job_id.decode(), _pairs(raw))
            assert job is not None
            open_ = await self._unfinished(job, sorted(map(int, indexes)))
            claims.append(Claim(job, open_, frozenset(map(int, suspects))))
        return claims

    async def _unfinished(self, job: Job, waiting: Sequence[int]) -> list[int]:
        if len(waiting) == job.total - job.done:
            return list(waiting)
        async with _answering():
            rows = await self._redis.lrange(_key("results", job.id), 0, -1)
        return unfinished(job, waiting, {orjson.loads(row)["index"] for row in rows})

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        async with _answering():
            kept = await self._renew(args=[PREFIX, self._worker, self._lease, *job_ids])
        return {job_id.decode() for job_id in kept}

    async def release(self, job_ids: Sequence[str]) -> None:
        async with _answering():
            await self._release(args=[PREFIX, self._worker, "", *job_ids])

    async def leave(self, job_ids: Sequence[str]) -> None:
        async with _answering():
            await self._release(args=[PREFIX, self._worker, "leaves", *job_ids])

    async def record(self, job_id: str, rows: Sequence[Finished], worked: float) -> Job | None:
        """What has its outcome already, from a try whose answer was lost, is left out."""
        async with _answering():
            while True:
                job = await self.get(job_id)
                if job is None or job.state is State.CANCELLED:
                    return None
                new = await self._without_outcome(job, rows)
                if job.state.ended:
                    return job if not new else None
                made = recorded(job, new, worked if new or not rows else 0.0, 0.0)
                said = await self._record(
                    args=[
                        *(PREFIX, job_id, self._worker, self._lease, job.done, job.events),
                        *(made.job.state, made.job.done, made.job.failed, made.job.worked),
                        orjson.dumps([[e.id, e.name, orjson.dumps(e.data).decode()] for e in made.events]),
                        orjson.dumps([one.index for one in new]),
                        *(orjson.dumps(row) for row in made.rows),
                    ]
                )
                if said == b"ok":
                    return made.job
                if said == b"lost" and not await self._has_ended(job_id):
                    return None
                # Otherwise somebody was quicker, or it came twice; look again.

    async def _has_ended(self, job_id: str) -> bool:
        job = await self.get(job_id)
        return job is not None and job.state.ended

    async def _without_outcome(self, job: Job, rows: Sequence[Finished]) -> list[Finished]:
        if not rows:
            return []
        items = _key("items", job.id)
        texts = await self._redis.hmget(items, [str(one.index) for one in rows])
        if None not in texts:
            return list(rows)
        waiting = await self._unfinished(job, [int(name) for name in await self._redis.hkeys(items)])
        return [one for one in rows if one.index in waiting]

    async def suspect(self, job_id: str, indexes: Sequence[int]) -> None:
        async with _answering():
            await self._suspect(args=[PREFIX, job_id, self._worker, self._lease, *indexes])

    async def expire(self, ttl: float) -> int:
        async with _answering():
            return await self._expire(args=[PREFIX, ttl])

    async def totals(self) -> Totals:
        async with _answering(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(f"{PREFIX}:states").hvals(f"{PREFIX}:waiting")
            pipe.zrange(f"{PREFIX}:open", 0, 0, withscores=True).time()
            states, waiting, oldest, (seconds, micros) = await pipe.execute()
        jobs = {State(name.decode()): int(count) for name, count in states.items() if int(count)}
        since = seconds + micros / 1e6 - oldest[0][1] if oldest else 0.0
        return Totals(jobs, max(0.0, since), sum(map(int, waiting)))

    async def _listen(self) -> None:
        """Hears of changes by all replicas; after a break everybody looks for themselves."""
        while True:
            try:
                async with self._redis.pubsub() as news:
                    await news.subscribe(NEWS)
                    while True:
                        message = await self._next(news)
                        if message["type"] == "message":
                            self._listener(*_news(message["data"]))
                        elif message["type"] == "subscribe":  # again after a break, too
                            self._listener("", ())
            except Exception as error:
                logger.warning(
                    "The job store's news were interrupted.",
                    extra={"fields": {"error": type(error).__name__}},
                )
            await asyncio.sleep(_RETRY)

    async def _next(self, news: Any) -> dict[str, Any]:
        """What comes next; after a silence the server is asked to say something. Raises OSError if it won't.

        A connection whose other end is gone without a word looks like one on which nothing happens.
        """
        for _ in range(2):
            if (message := await news.get_message(timeout=self._timeout)) is not None:
                return message
            await news.ping()
        raise ConnectionError


def _key(kind: str, name: str) -> str:
    return f"{PREFIX}:{kind}:{name}"


def _news(data: bytes) -> tuple[str, list[Event]]:
    job_id, events = orjson.loads(data)
    return job_id, [Event(number, name, orjson.loads(told)) for number, name, told in events]


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """A hash as a script returns it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _job(job_id: str, raw: dict[bytes, bytes]) -> Job | None:
    if not raw:
        return None
    ended = float(raw[b"ended"]) if b"ended" in raw else None
    total, done, failed = (int(raw[name]) for name in (b"total", b"done", b"failed"))
    owner, state = raw[b"owner"].decode(), State(raw[b"state"].decode())
    created, worked = float(raw[b"created"]), float(raw[b"worked"])
    return Job(job_id, owner, state, total, done, failed, created, worked, ended, int(raw[b"events"]))


@contextlib.asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    try:
        yield
    except OutOfMemoryError as error:
        raise StoreUnavailable("The job store has no room left; try again later.") from error
    except (RedisError, OSError) as error:
        logger.warning("The job store did not answer.", extra={"fields": {"error": type(error).__name__}})
        raise StoreUnavailable from error
