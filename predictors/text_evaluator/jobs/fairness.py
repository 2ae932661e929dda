"""Whose turn it is: callers take turns, and within a caller its jobs do.

So a job of five texts that comes behind one of two thousand waits for a turn, not for two thousand texts, and
a caller with forty jobs gets no more than one with a single job.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Work = TypeVar("Work")


class FairQueue(Generic[Work]):
    """Texts waiting, by caller and job. All operations take constant time a text."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, OrderedDict[str, deque[Work]]] = OrderedDict()
        self._owner_of: dict[str, str] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, owner: str, job: str, works: Iterable[Work]) -> None:
        """Behind what the job has waiting already."""
        waiting = deque(works)
        if not waiting:
            return
        self._waiting += len(waiting)
        self._owner_of[job] = owner
        self._owners.setdefault(owner, OrderedDict()).setdefault(job, deque()).extend(waiting)

    def take(self) -> Work:
        """The text whose turn it is. Raises IndexError when there is none."""
        if not self._waiting:
            raise IndexError("nothing waits")
        owner, jobs = next(iter(self._owners.items()))
        job, waiting = next(iter(jobs.items()))
        work = waiting.popleft()
        self._waiting -= 1
        self._owners.move_to_end(owner)
        jobs.move_to_end(job)
        if not waiting:
            self._drop(owner, job)
        return work

    def remove(self, job: str) -> list[Work]:
        """What the job still has waiting; it waits no more."""
        if (owner := self._owner_of.get(job)) is None:
            return []
        gone = list(self._owners[owner][job])
        self._waiting -= len(gone)
        self._drop(owner, job)
        return gone

    def _drop(self, owner: str, job: str) -> None:
        del self._owner_of[job], self._owners[owner][job]
        if not self._owners[owner]:
            del self._owners[owner]
