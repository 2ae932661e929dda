"""The thread in which the batcher's engine runs."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic

from predictors.runtime.batching import Batch, Outcome, Result, Work


class EngineThread(Generic[Work, Result]):
    """Calls ``run`` in one thread of its own, one batch at a time."""

    def __init__(
        self, run: Callable[[Sequence[Work]], Sequence[Outcome[Result]]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._run = run
        self._loop = loop
        self._inbox: queue.SimpleQueue[tuple[Batch, Callable[[Batch], None]] | None] = queue.SimpleQueue()
        # A daemon: an engine call that never returns must not outlive the grace period.
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    def start(self, batch: Batch[Work], done: Callable[[Batch[Work]], None]) -> None:
        self._inbox.put((batch, done))

    def stop(self) -> None:
        self._inbox.put(None)

    def _work(self) -> None:
        while (job := self._inbox.get()) is not None:
            batch, done = job
            started = time.perf_counter()
            try:
                batch.outcomes = list(self._run([entry.work for entry in batch.entries]))
            except BaseException as error:  # whatever it is, callers wait for an answer
                batch.error = error
            batch.seconds = time.perf_counter() - started
            try:
                self._loop.call_soon_threadsafe(done, batch)
            except RuntimeError:  # the loop has closed: nobody waits any more
                return
            del job, batch, done  # while waiting for the next one, keep nothing of the last
