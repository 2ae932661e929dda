"""Which batch comes at which step: round robin over the tasks, as a pure function of seed and step.

So the state of the data's order is one number, and a resumed run goes on with the batch that was due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

_POOL = 32
"""Batches that are cut from examples sorted by length: little padding, and still a mixed order."""


class RoundRobin:
    def __init__(self, lengths: Mapping[str, Sequence[int]], batch_size: int, seed: int) -> None:
        """``lengths``: of each task's features, in tokens. A task that is through begins again, reshuffled."""
        self._lengths = {task: np.asarray(values) for task, values in lengths.items() if len(values)}
        if not self._lengths:
            raise ValueError("there is nothing to train on")
        self._tasks = tuple(self._lengths)
        self._batch_size, self._seed = batch_size, seed
        self._batches = lru_cache(maxsize=len(self._tasks))(self._shuffled)

    @property
    def steps_per_epoch(self) -> int:
        """Until the longest task is through once."""
        return len(self._tasks) * max(-(-len(v) // self._batch_size) for v in self._lengths.values())

    def at(self, step: int) -> tuple[str, np.ndarray]:
        """The task of a step, and which of its features are in the batch."""
        turn, place = divmod(step, len(self._tasks))
        task = self._tasks[place]
        epoch, index = divmod(turn, -(-len(self._lengths[task]) // self._batch_size))
        return task, self._batches(task, epoch)[index]

    def _shuffled(self, task: str, epoch: int) -> list[np.ndarray]:
        lengths, size = self._lengths[task], self._batch_size
        rng = np.random.default_rng([self._seed, epoch, *task.encode()])
        order = rng.permutation(len(lengths))
        batches: list[np.ndarray] = []
        for first in range(0, len(order), _POOL * size):
            pool = order[first : first + _POOL * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[at : at + size] for at in range(0, len(pool), size)]
        rng.shuffle(batches)  # pyright: ignore[reportArgumentType]
        return batches
