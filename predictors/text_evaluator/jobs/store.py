"""Where jobs are kept: one interface, two implementations (sqlite.py for one replica, redis.py for many).

What every implementation promises:

- What was accepted (``create``) and what was finished (``record``) survives the process and a power cut.
- One worker at a time holds a job. Who loses it can record nothing more: a text has one outcome, the first.
- A job's log is appended to in the same step as its results: whatever is streamed was durable before.
- Ids of a job's events count from 1, so a reader knows by them what it has missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from predictors.runtime.errors import Unavailable
from predictors.text_evaluator.jobs.model import Event, Finished, Job, NewJob, State

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class StoreUnavailable(Unavailable):
    """The store does not answer, or has no room. What was asked for is done wholly or not at all; which of
    the two is known only when it has no room (not done). An Idempotency-Key makes asking again safe."""

    def __init__(self, message: str = "The job store cannot be reached; try again later.") -> None:
        super().__init__(message, retry_after=5)


@dataclass(frozen=True)
class Quota:
    jobs: int
    """Unfinished jobs of all callers."""
    caller_items: int
    """Unfinished texts of one caller."""


class Refused(Exception):
    """A job that was not taken: ``jobs`` or ``items``, or ``conflict`` of an idempotency key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Claim:
    """A job in this worker's hands, with what is left to do."""

    job: Job
    open: Sequence[int]
    """Indexes of the texts without an outcome, in order; of those that are lost too."""
    suspects: frozenset[int] = frozenset()
    """Those of them that were in an engine when it was lost."""


@dataclass(frozen=True)
class Totals:
    jobs: dict[State, int]
    oldest_seconds: float
    """Age of the oldest unfinished job."""
    waiting_items: int
    """Texts without an outcome, of all jobs: what a worker more would help with."""


LOOKS = 4
"""Times in a lease that a worker looks. What it holds is its own for one look less than the lease, so that
another, who looks as often, has found it when the lease is over."""

Listener = Callable[[str, Sequence[Event]], None]
"""Told of a job's id and its new events; without events: look at the job, it may have ended or gone."""


class JobStore(Protocol):
    async def open(self, listener: Listener) -> None:
        """Connects. ``listener`` hears of every change to any job, by whomever, on the event loop."""
        ...

    async def close(self) -> None: ...

    async def create(self, new: NewJob, quota: Quota) -> tuple[Job, bool]:
        """The job, and whether it is new or the one that its key stands for already. Raises Refused."""
        ...

    async def get(self, job_id: str) -> Job | None: ...

    async def of(self, owner: str | None, limit: int) -> list[Job]:
        """A caller's jobs, newest first; None: of all callers."""
        ...

    async def results(self, job_id: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Rows in the order in which they were finished, behind the ``after``-th."""
        ...

    async def events(self, job_id: str, after: int, limit: int) -> list[Event]: ...

    async def remove(self, job_id: str) -> Job | None:
        """Ends an unfinished job as cancelled, forgets texts and results of any; returns what there was."""
        ...

    # -- the worker's side

    async def share(self) -> int:
        """How many jobs are this worker's part of all, so that every worker has work; says that it is there.

        What all workers' parts add up to is no less than the jobs: each is somebody's, and has its turns.
        """
        ...

    async def fields(self, job_id: str, index: int) -> dict[str, str] | None:
        """A text; None: it has its outcome, or is gone."""
        ...

    async def claim(self, limit: int) -> list[Claim]:
        """Unfinished jobs that nobody holds, oldest first; from now on this worker holds them."""
        ...

    async def renew(self, job_ids: Sequence[str]) -> set[str]:
        """Says that this worker lives; returns the jobs that are still its."""
        ...

    async def release(self, job_ids: Sequence[str]) -> None:
        """Gives jobs back unfinished, for whoever comes first."""
        ...

    async def leave(self, job_ids: Sequence[str]) -> None:
        """As release, and this worker is no more: the others' parts grow."""
        ...

    async def record(self, job_id: str, rows: Sequence[Finished], worked: float) -> Job | None:
        """Outcomes of texts, ``worked`` seconds after the last ones; those that have one keep it.

        A text that is neither there nor has an outcome was lost, and gets the one it is given.

        None: the job is not this worker's any more, and nothing was recorded.
        """
        ...

    async def suspect(self, job_id: str, indexes: Sequence[int]) -> None:
        """These texts were in the engine when it was lost; every claim says so until they have an outcome.

        Of a job that is not this worker's any more nothing is noted.
        """
        ...

    async def expire(self, ttl: float) -> int:
        """Forgets texts and results of jobs that ended ``ttl`` seconds ago, and jobs themselves ttl later."""
        ...

    async def totals(self) -> Totals: ...


async def insist(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """The store's answer, however long it is away."""
    pause = 0.2
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            logger.warning("%s", error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)
