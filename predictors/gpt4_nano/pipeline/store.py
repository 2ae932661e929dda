"""Where the HTTP side keeps what became of a request: SQLite in one file, or Redis for many replicas.

A request is claimed before it is sent, so that two callers cannot both send it. A claim whose holder never
heard from the broker may be taken over after its lease, and is then the same submission: should the broker
have both, one is answered. Results stay until their time is over, however often they are read; then the id is
free, for another submission. Everything is kept below its subject: nobody finds another one's.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson

from predictors.runtime.redis import connect

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
    async def claim(self, subject: str, request_id: str, lease: float) -> str | Entry:
        """The submission, when it is the caller's to send, for ``lease`` seconds; else what there is."""
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
CREATE TABLE IF NOT EXISTS requests (
  subject TEXT NOT NULL, request_id TEXT NOT NULL, state TEXT NOT NULL,
  lease REAL NOT NULL, expires REAL NOT NULL, submission TEXT NOT NULL, body BLOB,
  PRIMARY KEY (subject, request_id)
) WITHOUT ROWID
"""
_PUT = "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)"
_SWEEP_SECONDS = 60.0


class SQLiteStore:
    def __init__(self, path: Path, ttl: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._ttl, self._lock, self._swept = ttl, threading.Lock(), 0.0
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)
        self._db.execute("CREATE INDEX IF NOT EXISTS requests_expire ON requests (expires)")

    async def claim(self, subject: str, request_id: str, lease: float) -> str | Entry:
        def work(now: float) -> str | Entry:
            found = self._find(subject, request_id, now)
            if found is not None and not (found[0] == State.SENDING and found[1] <= now):
                return Entry(State(found[0]), orjson.loads(found[3]) if found[3] else None)
            submission = found[2] if found is not None else _submission()
            row = (subject, request_id, State.SENDING, now + lease, now + self._ttl, submission, None)
            self._db.execute(_PUT, row)
            return submission

        return await self._do(work)

    async def sent(self, subject: str, request_id: str) -> None:
        await self._do(lambda now: self._move(subject, request_id, State.PENDING, now))

    async def give_up(self, subject: str, request_id: str) -> None:
        await self._do(lambda now: self._move(subject, request_id, State.SENDING, now))

    async def finish(self, subject: str, request_id: str, body: Body) -> None:
        row = (subject, request_id, State.DONE, 0.0)
        await self._do(lambda now: self._db.execute(_PUT, (*row, now + self._ttl, "", orjson.dumps(body))))

    async def get(self, subject: str, request_id: str) -> Entry | None:
        def work(now: float) -> Entry | None:
            found = self._find(subject, request_id, now)
            return Entry(State(found[0]), orjson.loads(found[3]) if found[3] else None) if found else None

        return await self._do(work)

    async def close(self) -> None:
        with self._lock:
            self._db.close()

    def _find(self, subject: str, request_id: str, now: float) -> tuple[str, float, str, bytes | None] | None:
        return self._db.execute(
            "SELECT state, lease, submission, body FROM requests"
            " WHERE subject = ? AND request_id = ? AND expires > ?",
            (subject, request_id, now),
        ).fetchone()

    def _move(self, subject: str, request_id: str, state: State, now: float) -> None:
        self._db.execute(
            "UPDATE requests SET state = ?, lease = ? WHERE subject = ? AND request_id = ? AND state = ?",
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
                    self._db.execute("DELETE FROM requests WHERE expires <= ?", (now,))
                    self._swept = now
                value = work(now)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            return value


# In one step each, as replicas race. KEYS: the entry. ARGV: new submission, end of lease, now, milliseconds.
_CLAIM = """
local submission = ARGV[1]
local found = redis.call('GET', KEYS[1])
if found then
  local entry = cjson.decode(found)
  local again = entry.submission == ARGV[1] -- this very command came twice
  if not (entry.state == 'sending' and (again or entry.lease <= tonumber(ARGV[3]))) then return found end
  submission = entry.submission
end
local entry = {state = 'sending', lease = tonumber(ARGV[2]), submission = submission}
redis.call('SET', KEYS[1], cjson.encode(entry), 'PX', ARGV[4])
return {submission}
"""
# ARGV: new state, end of lease.
_MOVE = """
local found = redis.call('GET', KEYS[1])
if not found then return false end
local entry = cjson.decode(found)
if entry.state == 'sending' then
  entry.state, entry.lease = ARGV[1], tonumber(ARGV[2])
  redis.call('SET', KEYS[1], cjson.encode(entry), 'KEEPTTL')
end
return false
"""


class RedisStore:
    def __init__(self, url: str, ttl: float) -> None:
        self._redis = connect(url)
        self._milliseconds = max(1, int(ttl * 1000))

    async def claim(self, subject: str, request_id: str, lease: float) -> str | Entry:
        now = time.time()
        arguments = (_submission(), now + lease, now, self._milliseconds)
        found = await self._redis.eval(_CLAIM, 1, _key(subject, request_id), *arguments)
        return found[0].decode() if isinstance(found, list) else _entry(found)

    async def sent(self, subject: str, request_id: str) -> None:
        await self._redis.eval(_MOVE, 1, _key(subject, request_id), State.PENDING, 0)

    async def give_up(self, subject: str, request_id: str) -> None:
        await self._redis.eval(_MOVE, 1, _key(subject, request_id), State.SENDING, 0)

    async def finish(self, subject: str, request_id: str, body: Body) -> None:
        value = orjson.dumps({"state": State.DONE, "body": body})
        await self._redis.set(_key(subject, request_id), value, px=self._milliseconds)

    async def get(self, subject: str, request_id: str) -> Entry | None:
        found = await self._redis.get(_key(subject, request_id))
        return _entry(found) if found is not None else None

    async def close(self) -> None:
        await self._redis.aclose()


def _key(subject: str, request_id: str) -> str:
    # With the length, so that no subject's key can be another's.
    return f"quintet:gpt4_nano:{len(subject)}:{subject}:{request_id}"


def _entry(value: bytes) -> Entry:
    document = orjson.loads(value)
    return Entry(State(document["state"]), document.get("body"))


def _submission() -> str:
    return uuid.uuid4().hex
