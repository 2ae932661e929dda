"""Jobs in one SQLite file: durable without a server, for one replica.

One process has the file (a lock that the kernel gives back when the process dies), so a job needs no lease:
whoever opens the file goes on with all of them. One thread does all the work, tells the news of a change and
knows which jobs are held: what was begun there has all its consequences, whoever hangs up meanwhile.
Write-ahead log, every commit synced to the disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import orjson

from predictors.runtime.errors import LoadError
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
from predictors.text_evaluator.jobs.store import Claim, Listener, Quota, Refused, StoreUnavailable, Totals

Answer = TypeVar("Answer")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, key TEXT, digest TEXT NOT NULL, state TEXT NOT NULL,
  total INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL, worked REAL NOT NULL DEFAULT 0, ended REAL, events INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state);
CREATE INDEX IF NOT EXISTS jobs_created ON jobs (created);
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, created);
CREATE INDEX IF NOT EXISTS jobs_ended ON jobs (ended);
CREATE TABLE IF NOT EXISTS items (
  job TEXT NOT NULL, position INTEGER NOT NULL, fields BLOB NOT NULL, PRIMARY KEY (job, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suspects (
  job TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (job, position)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
  job TEXT NOT NULL, number INTEGER NOT NULL, row BLOB NOT NULL, PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
  job TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""
_FULL = "The job store has no room left; try again later."
_OUTCOME_BYTES = 2048
"""Of one text's mark and feedback, kept as result and as event."""
_JOB = "id, owner, state, total, done, failed, created, worked, ended, events"
_OPEN = f"state IN ('{State.QUEUED}', '{State.PROCESSING}')"


class SqliteStore:
    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._thread = ThreadPoolExecutor(1, "jobs")
        self._held: set[str] = set()
        """Jobs in the worker's hands; the thread's."""
        self._listener: Listener = lambda _, __: None
        self._loop: asyncio.AbstractEventLoop
        self._began = 0.0
        self._db: sqlite3.Connection
        self._lock = -1

    async def open(self, listener: Listener) -> None:
        """Raises LoadError when the file cannot be used, or is another process's."""
        self._listener, self._loop = listener, asyncio.get_running_loop()
        try:
            await self._run(self._open)
        except (OSError, StoreUnavailable) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise LoadError(f"The job store {self._path} cannot be opened: {reason}") from error

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def create(self, new: NewJob, quota: Quota) -> tuple[Job, bool]:
        return await self._run(self._create, new, quota)

    async def get(self, job_id: str) -> Job | None:
        return await self._run(self._get, job_id)

    async def of(self, owner: str | None, limit: int) -> list[Job]:
        whose, values = ("", ()) if owner is None else ("WHERE owner = ?", (owner,))
        query = f"SELECT {_JOB} FROM jobs {whose} ORDER BY created DESC, rowid DESC LIMIT ?"
        return [_job(row) for row in await self._run(self._all, query, *values, limit)]

    async def results(self, job_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        query = "SELECT row FROM results WHERE job = ? AND number > ? ORDER BY number LIMIT ?"
        return [orjson.loads(row) for (row,) in await self._run(self._all, query, job_id, after, limit)]

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]:
        query = "SELECT number, name, data FROM events WHERE job = ? AND number > ? ORDER BY number LIMIT ?"
        rows = await self._run(self._all, query, job_id, after, limit)
        return [Event(number, name, orjson.loads(data)) for number, name, data in rows]

    async def remove(self, job_id: str) -> Job | None:
        return await self._run(self._remove, job_id)

    async def share(self) -> int:
        return (await self._run(self._all, f"SELECT count(*) FROM jobs WHERE {_OPEN}"))[0][0]

    async def fields(self, job_id: str, index: int) -> dict[str, str] | None:
        query = "SELECT fields FROM items WHERE job = ? AND position = ?"
        found = await self._run(self._all, query, job_id, index)
        return orjson.loads(found[0][0]) if found else None

    async def claim(self, limit: int) -> list[Claim]:
        return await self._run(self._claim, limit)

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        return await self._run(self._renew, job_ids)

    async def release(self, job_ids: Sequence[str]) -> None:
        await self._run(self._held.difference_update, job_ids)

    async def leave(self, job_ids: Sequence[str]) -> None:
        await self.release(job_ids)

    async def record(self, job_id: str, rows: Sequence[Finished], worked: float) -> Job | None:
        return await self._run(self._record, job_id, rows, worked)

    async def suspect(self, job_id: str, indexes: Sequence[int]) -> None:
        await self._run(self._suspect, job_id, indexes)

    async def expire(self, ttl: float) -> int:
        return await self._run(self._expire, ttl)

    async def totals(self) -> Totals:
        return await self._run(self._totals)

    # -- in the thread

    async def _run(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        # Shielded: what was begun is ended, whoever waits for it.
        try:
            return await asyncio.shield(self._loop.run_in_executor(self._thread, work, *arguments))
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StoreUnavailable(_FULL) from error
            raise StoreUnavailable("The job store cannot be used now; try again later.") from error

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LoadError(
                f"The job store {self._path} is another process's; many replicas need Redis."
            ) from None
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        if self._max_bytes is not None:  # for outcomes too; no job is taken that would come near it
            self._db.execute(f"PRAGMA max_page_count = {self._max_bytes // self._one('PRAGMA page_size')}")
        self._db.executescript(_SCHEMA)
        # Read once and then counted: a wall clock that is set while we run ends nobody's time.
        self._began = time.time() - time.monotonic()

    def _close(self) -> None:
        self._db.close()
        os.close(self._lock)

    def _now(self) -> float:
        return self._began + time.monotonic()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has rolled back by itself
                self._db.execute("ROLLBACK")
            raise

    def _all(self, query: str, *values: Any) -> list[Any]:
        return self._db.execute(query, values).fetchall()

    def _one(self, query: str) -> int:
        return self._db.execute(query).fetchone()[0]

    def _get(self, job_id: str) -> Job | None:
        row = self._db.execute(f"SELECT {_JOB} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else _job(row)

    def _create(self, new: NewJob, quota: Quota) -> tuple[Job, bool]:
        with self._change() as db:
            if new.key is not None:
                query = f"SELECT {_JOB}, digest FROM jobs WHERE owner = ? AND key = ?"
                if (row := db.execute(query, (new.owner, new.key)).fetchone()) is not None:
                    if row[-1] != new.digest:
                        raise Refused("conflict")
                    return _job(row[:-1]), False
            (jobs,) = db.execute(f"SELECT count(*) FROM jobs WHERE {_OPEN}").fetchone()
            if jobs >= quota.jobs:
                raise Refused("jobs")
            query = f"SELECT coalesce(sum(total - done), 0) FROM jobs WHERE owner = ? AND {_OPEN}"
            (waiting,) = db.execute(query, (new.owner,)).fetchone()
            if waiting and waiting + len(new.items) > quota.caller_items:
                raise Refused("items")
            db.execute(
                "INSERT INTO jobs (id, owner, key, digest, state, total, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (new.id, new.owner, new.key, new.digest, State.QUEUED, len(new.items), self._now()),
            )
            db.executemany(
                "INSERT INTO items VALUES (?, ?, ?)",
                [(new.id, position, orjson.dumps(fields)) for position, fields in enumerate(new.items)],
            )
            job = self._get(new.id)
            self._check_room()
        assert job is not None
        self._publish(job.id)
        return job, True

    def _check_room(self) -> None:
        """Raises StoreUnavailable when what was accepted and its outcomes, which must be kept, do not fit."""
        used = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
        coming = self._one(f"SELECT coalesce(sum(total - done), 0) FROM jobs WHERE {_OPEN}")
        most = used * self._one("PRAGMA page_size") + coming * _OUTCOME_BYTES
        if self._max_bytes is not None and most > self._max_bytes:
            raise StoreUnavailable(_FULL)

    def _claim(self, limit: int) -> list[Claim]:
        query = f"SELECT {_JOB} FROM jobs WHERE {_OPEN} ORDER BY created, rowid"
        free = [job for row in self._all(query) if (job := _job(row)).id not in self._held][:limit]
        with self._change() as db:
            update = "UPDATE jobs SET state = ? WHERE id = ?"
            db.executemany(update, [(State.PROCESSING, job.id) for job in free])
            claims = [Claim(job, self._unfinished(job), self._suspects(job.id)) for job in free]
        self._held.update(job.id for job in free)
        return claims

    def _unfinished(self, job: Job) -> list[int]:
        query = "SELECT position FROM items WHERE job = ? ORDER BY position"
        waiting = [index for (index,) in self._all(query, job.id)]
        if len(waiting) == job.total - job.done:
            return waiting
        rows = self._all("SELECT row FROM results WHERE job = ?", job.id)
        return unfinished(job, waiting, {orjson.loads(row)["index"] for (row,) in rows})

    def _suspect(self, job_id: str, indexes: Sequence[int]) -> None:
        if job_id in self._held:
            with self._change() as db:
                insert = "INSERT OR IGNORE INTO suspects VALUES (?, ?)"
                db.executemany(insert, [(job_id, index) for index in indexes])

    def _suspects(self, job_id: str) -> frozenset[int]:
        found = self._all("SELECT position FROM suspects WHERE job = ?", job_id)
        return frozenset(index for (index,) in found)

    def _renew(self, job_ids: Sequence[str]) -> set[str]:
        unfinished = {job_id for (job_id,) in self._all(f"SELECT id FROM jobs WHERE {_OPEN}")}
        self._held &= unfinished
        return self._held & set(job_ids)

    def _record(self, job_id: str, finished: Sequence[Finished], worked: float) -> Job | None:
        if job_id not in self._held:
            return None
        with self._change() as db:
            job = self._get(job_id)
            if job is None or job.state.ended:
                return None
            # A text is there until it has its outcome; then it is not needed any more.
            delete = "DELETE FROM items WHERE job = ? AND position = ?"
            there = {one.index for one in finished if db.execute(delete, (job_id, one.index)).rowcount}
            clear = "DELETE FROM suspects WHERE job = ? AND position = ?"
            db.executemany(clear, [(job_id, one.index) for one in finished])
            if len(there) < len(finished):
                there.update(self._unfinished(job))
            new = [one for one in finished if one.index in there]
            after, rows, told = recorded(job, new, worked, self._now())
            db.executemany(
                "INSERT INTO results VALUES (?, ?, ?)",
                [(job_id, job.done + place, orjson.dumps(row)) for place, row in enumerate(rows, 1)],
            )
            self._tell(job_id, told)
            db.execute(
                "UPDATE jobs SET state = ?, done = ?, failed = ?, worked = ?, ended = ? WHERE id = ?",
                (after.state, after.done, after.failed, after.worked, after.ended, job_id),
            )
        if told:
            self._publish(job_id, told)
        if after.state.ended:
            self._held.discard(job_id)
            self._wipe()
        return after

    def _remove(self, job_id: str) -> Job | None:
        told: list[Event] = []
        with self._change() as db:
            job = self._get(job_id)
            if job is None:
                return None
            self._forget(job_id)
            if job.state.ended:
                db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            else:
                query = f"UPDATE jobs SET state = ?, ended = ? WHERE id = ? RETURNING {_JOB}"
                job = _job(db.execute(query, (State.CANCELLED, self._now(), job_id)).fetchone())
                told = [Event(job.events + 1, *ended_event(job))]
                self._tell(job_id, told)
        self._held.discard(job_id)
        self._publish(job_id, told)
        self._wipe()
        return job

    def _expire(self, ttl: float) -> int:
        with self._change() as db:
            now = self._now()
            query = "SELECT id FROM jobs WHERE ended < ? AND state != ?"
            gone = [job_id for (job_id,) in self._all(query, now - ttl, State.EXPIRED)]
            for job_id in gone:
                self._forget(job_id)
                db.execute("UPDATE jobs SET state = ?, key = NULL WHERE id = ?", (State.EXPIRED, job_id))
            db.execute("DELETE FROM jobs WHERE ended < ?", (now - 2 * ttl,))
        for job_id in gone:
            self._publish(job_id)
        self._wipe()
        return len(gone)

    def _wipe(self) -> None:
        """What was forgotten leaves the log too: there it would stay until something is written over it."""
        with suppress(sqlite3.OperationalError):  # a full disk: the next time, then
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _totals(self) -> Totals:
        jobs = {State(s): n for s, n in self._all("SELECT state, count(*) FROM jobs GROUP BY state")}
        query = f"SELECT min(created), coalesce(sum(total - done), 0) FROM jobs WHERE {_OPEN}"
        oldest, waiting = self._db.execute(query).fetchone()
        return Totals(jobs, 0.0 if oldest is None else max(0.0, self._now() - oldest), waiting)

    def _publish(self, job_id: str, events: Sequence[Event] = ()) -> None:
        """To the listener, on the loop and before whoever waits for the change itself."""
        self._loop.call_soon_threadsafe(lambda: self._listener(job_id, events))

    def _tell(self, job_id: str, events: Sequence[Event]) -> None:
        if events:
            self._db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?)",
                [(job_id, event.id, event.name, orjson.dumps(event.data)) for event in events],
            )
            self._db.execute("UPDATE jobs SET events = ? WHERE id = ?", (events[-1].id, job_id))

    def _forget(self, job_id: str) -> None:
        for table in ("items", "suspects", "results", "events"):
            self._db.execute(f"DELETE FROM {table} WHERE job = ?", (job_id,))


def _job(row: Sequence[Any]) -> Job:
    return Job(row[0], row[1], State(row[2]), *row[3:])
