"""A job's story as server-sent events, from any point of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import lru_cache

from predictors.runtime.errors import NotFound
from predictors.runtime.transports.sse import HEARTBEAT, event, retry
from predictors.text_evaluator.jobs.feed import Feed
from predictors.text_evaluator.jobs.model import Event, Job, State, progress
from predictors.text_evaluator.jobs.store import JobStore

RETRY_MILLISECONDS = 2000
_AT_ONCE = 50  # events read from the store
LAST = ("complete", "error")


async def story(
    store: JobStore, feed: Feed, job: Job, after: int, heartbeat: float
) -> AsyncGenerator[bytes, None]:
    """Everything behind event ``after`` and then what comes, up to the job's end."""
    yield retry(RETRY_MILLISECONDS)
    yield event("progress", {"event": "progress", "data": {**progress(job), "status": job.state}})
    with feed.follow(job.id) as follower:
        while not feed.closed:
            events = follower.recent(after) or await store.events(job.id, after, _AT_ONCE)
            for one in events:
                yield _encoded(one)
                after = one.id
                if one.name in LAST:
                    return
            if events:
                continue
            now = await store.get(job.id)
            if now is None or now.state is State.EXPIRED:
                raise NotFound("The job is no longer there.")
            if now.state.ended and not await store.events(job.id, after, 1):
                return  # its end was told before
            while not await follower.rung(heartbeat):
                yield HEARTBEAT


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
