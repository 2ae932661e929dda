"""A job's story as server-sent events, from any point of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from predictors.runtime.errors import NotFound
from predictors.runtime.transports.sse import HEARTBEAT, event, retry
from predictors.text_evaluator.jobs.feed import Feed, Told
from predictors.text_evaluator.jobs.model import Job, State, progress
from predictors.text_evaluator.jobs.store import JobStore, StoreUnavailable

RETRY_MILLISECONDS = 2000
_AT_ONCE = 50  # events read from the store
_PAUSE = 1.0  # seconds between two looks for a store that is away


async def story(
    store: JobStore, feed: Feed, job: Job, after: int, heartbeat: float
) -> AsyncGenerator[bytes, None]:
    """Everything behind event ``after`` and then what comes, up to the job's end.

    All of it where the log does not reach so far: the store came back without its last second, and other
    events have those ids now.

    It waits for a store that is away: an ``error`` would be taken for the job's.
    """
    after = after if after <= job.events else 0
    yield retry(RETRY_MILLISECONDS)
    yield event("progress", {"event": "progress", "data": {**progress(job), "status": job.state}})
    with feed.follow(job.id) as follower:
        looks = True  # before the first news only the store knows
        while not feed.closed:
            try:
                events = None if looks else follower.recent(after)
                if events is None and (events := await _behind(store, job.id, after)) is None:
                    return
            except StoreUnavailable:
                yield HEARTBEAT
                await asyncio.sleep(_PAUSE)
                continue
            looks = False
            for one in events:
                yield one.text
                after = one.id
                if one.is_last:
                    return
            if not events and not await follower.rung(heartbeat):
                yield HEARTBEAT
                looks = True  # news may get lost, what happened does not


async def _behind(store: JobStore, job_id: str, after: int) -> list[Told] | None:
    """Events behind ``after``, as the store has them; None: the job has ended, and ``after`` was its last.

    Raises NotFound when it is gone.
    """
    job = await store.get(job_id)
    if job is None or job.state is State.EXPIRED:
        raise NotFound("The job is no longer there.")
    told = []
    if job.events < after:
        after = 0
    if job.events > after:
        told = [Told(event) for event in await store.events(job_id, after, _AT_ONCE)]
    return told or (None if job.state.ended else [])
