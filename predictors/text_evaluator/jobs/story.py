"""A job's story as server-sent events, from any point of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import lru_cache

from predictors.runtime.errors import NotFound
from predictors.runtime.transports.sse import HEARTBEAT, event, retry
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import LAST, Event, Job, State, progress
from predictors.text_evaluator.jobs.store import JobStore, StoreUnavailable

RETRY_MILLISECONDS = 2000
_AT_ONCE = 50  # events read from the store
_PAUSE = 1.0  # seconds between two looks for a store that is away


async def story(
    store: JobStore, feed: Feed, job: Job, after: int, heartbeat: float
) -> AsyncGenerator[bytes, None]:
    """Everything behind event ``after`` and then what comes, up to the job's end.

    It waits for a store that is away: an ``error`` would be taken for the job's.
    """
    yield retry(RETRY_MILLISECONDS)
    yield event("progress", {"event": "progress", "data": {**progress(job), "status": job.state}})
    with feed.follow(job.id) as follower:
        while not feed.closed:
            try:
                events = follower.recent(after) or await store.events(job.id, after, _AT_ONCE)
                told = not events and await _told(store, job.id, after)
            except StoreUnavailable:
                yield HEARTBEAT
                await asyncio.sleep(_PAUSE)
                continue
            for one in events:
                yield _encoded(one)
                after = one.id
                if one.name in LAST:
                    return
            if events:
                continue
            if told:
                return
            if not await follower.rung(heartbeat):
                yield HEARTBEAT  # and a look at the store: news may get lost, what happened does not


async def _told(store: JobStore, job_id: str, after: int) -> bool:
    """Whether the job has ended, and event ``after`` was its last. Raises NotFound when it is gone."""
    job = await store.get(job_id)
    if job is None or job.state is State.EXPIRED:
        raise NotFound("The job is no longer there.")
    return job.state.ended and not await store.events(job_id, after, 1)


def _encoded(one: Event) -> bytes:
    return _text(_Same(one))


class _Same:
    """An event as a key: the very same object is the same event, and has the same text."""

    __slots__ = ("event",)

    def __init__(self, one: Event) -> None:
        self.event = one

    def __hash__(self) -> int:
        return id(self.event)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.event is self.event


@lru_cache(256)
def _text(same: _Same) -> bytes:
    one = same.event
    return event(one.name, one.data, one.id)
