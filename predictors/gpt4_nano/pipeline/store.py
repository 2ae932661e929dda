"""Where the HTTP side keeps what became of a request: SQLite in one file, or Redis for many replicas.

A request is claimed before it is sent, so that two callers cannot both send it; a claim whose holder never
heard from the broker may be taken over after its lease. Results stay until their time is over, however often
they are read. Everything is kept below its subject: nobody finds another one's.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

T = TypeVar("T")

Body = dict[str, Any]


class State(StrEnum):
    SENDING = "sending"  # claimed; the broker has not acknowledged it yet
    PENDING = "pending"  # the broker has it
    DONE = "done"


@dataclass(frozen=True)
class Entry:
    state: State
    body: Body | None = None
    """The result, once done."""


class ResultStore(Protocol):
    async def claim(self, subject: str, request_id: str, lease: float) -> Entry | None:
        """None when it is the caller's to send, for ``lease`` seconds; else what there is already."""
        ...

    async def sent(self, subject: str, request_id: str) -> None:
        """The broker has acknowledged it."""
        ...

    async def give_up(self, subject: str, request_id: str) -> None:
        """Whether the broker has it is not known: whoever asks next may send it again."""
        ...

    async def finish(self, subject: str, request_id: str, body: Body) -> None: ...

    async def get(self, subject: str, request_id: str) -> Entry | None: ...

    async def close(self) -> None: ...


def open_store(url: str, ttl: float) -> ResultStore:
    """``redis://...``, or the path of a SQLite file. ``ttl``: seconds it is kept after its last change."""
    if url.startswith(("redis://", "rediss://", "unix://")):
        return RedisStore(url, ttl)
    return SQLiteStore(Path(url).expanduser(), ttl)


_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
  subject TEXT NOT NULL, request_id TEXT NOT NULL, state TEXT NOT NULL,
  lease REAL NOT NULL, expires REAL NOT NULL, body BLOB,
  PRIMARY KEY (subject, request_id)
) WITHOUT ROWID
"""
_PUT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)"
_SWEEP_SECONDS = 60.0


class SQLiteStore:
    def __init__(self, path: Path, ttl: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ttl, self._lock, self._swept = ttl, threading.Lock(), 0.0
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)
        self._db.execute("CREATE INDEX IF NOT EXISTS results_expires ON results (expires)")

    async def claim(self, subject: str, request_id: str, lease: float) -> Entry | None:
        def work(now: float) -> Entry | None:
            found = self._find(subject, request_id, now)
            if found is not None and not (found[0] == State.SENDING and found[1] <= now):
                return Entry(State(found[0]), orjson.loads(found[2]) if found[2] else None)
            row = (subject, request_id, State.SENDING, now + lease, now + self._ttl, None)
            self._db.execute(_PUT, row)
            return None

        return await self._do(work)

    async def sent(self, subject: str, request_id: str) -> None:
        await self._do(lambda now: self._move(subject, request_id, State.PENDING, now))

    async def give_up(self, subject: str, request_id: str) -> None:
        await self._do(lambda now: self._move(subject, request_id, State.SENDING, now))

    async def finish(self, subject: str, request_id: str, body: Body) -> None:
        row = (subject, request_id, State.DONE, 0.0)
        await self._do(lambda now: self._db.execute(_PUT, (*row, now + self._ttl, orjson.dumps(body))))

    async def get(self, subject: str, request_id: str) -> Entry | None:
        def work(now: float) -> Entry | None:
            found = self._find(subject, request_id, now)
            return Entry(State(found[0]), orjson.loads(found[2]) if found[2] else None) if found else None

        return await self._do(work)

    async def close(self) -> None:
        with self._lock:
            self._db.close()

    def _find(self, subject: str, request_id: str, now: float) -> tuple[str, float, bytes | None] | None:
        return self._db.execute(
            "SELECT state, lease, body FROM results WHERE subject = ? AND request_id = ? AND expires > ?",
            (subject, request_id, now),
        ).fetchone()

    def _move(self, subject: str, request_id: str, state: State, now: float) -> None:
        self._db.execute(
            "UPDATE results SET state = ?, lease = ? WHERE subject = ? AND request_id = ? AND state = ?",
            (state, now, subject, request_id, State.SENDING),
        )

    async def _do(self, work: Callable[[float], T]) -> T:
        return await asyncio.to_thread(self._locked, work)

    def _locked(self, work: Callable[[float], T]) -> T:
        with self._lock:
            # The wall clock, as the file outlives the process.
            now = time.time()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if now - self._swept > _SWEEP_SECONDS:
                    self._db.execute("DELETE FROM results WHERE expires <= ?", (now,))
                    self._swept = now
                value = work(now)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            return value


# In one step each, as replicas race: KEYS[1] the entry; ARGV a new value, now, seconds to keep.
_CLAIM = """
local found = redis.call('GET', KEYS[1])
if found then
  local entry = cjson.decode(found)
  if not (entry.state == 'sending' and entry.lease <= tonumber(ARGV[2])) then return found end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return false
"""
_MOVE = """
local found = redis.call('GET', KEYS[1])
if found and cjson.decode(found).state == 'sending' then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
end
return false
"""


class RedisStore:
    def __init__(self, url: str, ttl: float) -> None:
        # Only now: where results stay in SQLite, nobody needs it.
        from redis.asyncio import Redis

        self._redis: Any = Redis.from_url(url)
        self._milliseconds = max(1, int(ttl * 1000))

    async def claim(self, subject: str, request_id: str, lease: float) -> Entry | None:
        now = time.time()
        value = _value(State.SENDING, now + lease)
        arguments = (_key(subject, request_id), value, now, self._milliseconds)
        return _entry(await self._redis.eval(_CLAIM, 1, *arguments))

    async def sent(self, subject: str, request_id: str) -> None:
        await self._redis.eval(_MOVE, 1, _key(subject, request_id), _value(State.PENDING, 0))

    async def give_up(self, subject: str, request_id: str) -> None:
        await self._redis.eval(_MOVE, 1, _key(subject, request_id), _value(State.SENDING, 0))

    async def finish(self, subject: str, request_id: str, body: Body) -> None:
        value = _value(State.DONE, 0, body)
        await self._redis.set(_key(subject, request_id), value, px=self._milliseconds)

    async def get(self, subject: str, request_id: str) -> Entry | None:
        return _entry(await self._redis.get(_key(subject, request_id)))

    async def close(self) -> None:
        await self._redis.aclose()


def _key(subject: str, request_id: str) -> str:
    # With the length, so that no subject's key can be another's.
    return f"quintet:gpt4_nano:{len(subject)}:{subject}:{request_id}"


def _value(state: State, lease: float, body: Body | None = None) -> bytes:
    return orjson.dumps({"state": state, "lease": lease, "body": body})


def _entry(value: bytes | None) -> Entry | None:
    if value is None:
        return None
    document = orjson.loads(value)
    return Entry(State(document["state"]), document["body"])
