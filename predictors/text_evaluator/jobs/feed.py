"""What is new of a job, to those who follow it: a bell, and the last events for those who are up to date.

Nobody waits for a reader: a slow one finds its place in the store again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property

from predictors.runtime.transports.sse import event as encoded
from predictors.text_evaluator.jobs.model import LAST, Event

_KEPT = 64  # events of a job that is followed


class Told:
    """An event with its text on the wire, which is made once for all who read it and goes when it does."""

    def __init__(self, event: Event) -> None:
        self.id, self.is_last = event.id, event.name in LAST
        self._event = event

    @cached_property
    def text(self) -> bytes:
        return encoded(self._event.name, self._event.data, self.id)


class Follower:
    def __init__(self, topic: _Topic) -> None:
        self._topic = topic
        self._bell = asyncio.Event()

    def ring(self) -> None:
        self._bell.set()

    def recent(self, after: int) -> list[Told] | None:
        """The events behind ``after``; None: they are not all at hand, the store has to be asked."""
        kept = self._topic.events
        if not kept or kept[0].id > after + 1:
            return None
        return [event for event in kept if event.id > after]

    async def rung(self, within: float) -> bool:
        """Whether there was news since the last call, or came ``within`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._bell.wait()
        rung = self._bell.is_set()
        self._bell.clear()
        return rung


class _Topic:
    def __init__(self) -> None:
        self.events: deque[Told] = deque(maxlen=_KEPT)
        self.followers: set[Follower] = set()


class Feed:
    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self.closed = False

    @property
    def followers(self) -> int:
        return sum(len(topic.followers) for topic in self._topics.values())

    def publish(self, job_id: str, events: Sequence[Event]) -> None:
        """News of one job; of no job: whatever may have happened, look for yourselves."""
        for topic in [self._topics.get(job_id)] if job_id else list(self._topics.values()):
            if topic is None:
                continue
            missed = not events or (topic.events and events[0].id != topic.events[-1].id + 1)
            if missed or events[-1].name == "error":
                topic.events.clear()  # of a cancelled job nothing is kept
            topic.events.extend(map(Told, events))
            for follower in topic.followers:
                follower.ring()

    @contextlib.contextmanager
    def follow(self, job_id: str) -> Iterator[Follower]:
        topic = self._topics.setdefault(job_id, _Topic())
        follower = Follower(topic)
        topic.followers.add(follower)
        try:
            yield follower
        finally:
            topic.followers.discard(follower)
            if not topic.followers:
                self._topics.pop(job_id, None)

    def close(self) -> None:
        """Ends every story; who follows comes back and finds another replica, or this one anew."""
        self.closed = True
        self.publish("", ())
