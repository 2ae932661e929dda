"""A model that generates step by step, driven in a thread of its own: the engine under generation.py.

A model brings a ``Decoder``. The thread lets sequences join and leave between two of its steps, and tells the
event loop what they brought: at once what a caller waits for, the rest a little later together, as waking the
loop costs a small model a quarter of a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from predictors.runtime.errors import ServiceError
from predictors.runtime.generation import Generation
from predictors.runtime.metrics import Metrics

Work = TypeVar("Work")
WorkIn = TypeVar("WorkIn", contravariant=True)

logger = logging.getLogger(__name__)

UNTOLD_SECONDS = 0.02
"""Longest time for which a step that no caller waits for stays untold while steps take alike."""


class News(NamedTuple):
    """What one step brought for one sequence."""

    handle: Hashable
    tokens: int = 0
    """Tokens generated in this step; 0 while the prompt is read."""
    piece: Any = None
    """What a streaming caller is told now, if anything."""
    outcome: Any = None
    """The result or the sequence's own error; with it the sequence has ended."""


class Decoder(Protocol[WorkIn]):
    """Sequences decoded together, a step at a time. One thread calls it and nothing else does."""

    def join(self, work: WorkIn) -> Hashable:
        """Takes a sequence in, from the next step on. Raises ServiceError when that is its own fault."""
        ...

    def leave(self, handle: Any) -> None:
        """Forgets a sequence that has not ended."""
        ...

    def step(self) -> Iterable[News]:
        """Advances every sequence a little; those that ended have left."""
        ...


class _Step(NamedTuple):
    told: list[tuple[Generation, News]]
    rows: int
    seconds: float
    ended: float
    """In the loop's time, which is time.monotonic's."""

    @property
    def awaited(self) -> bool:
        """Whether a caller waits for something of it: an end, or a piece of a stream."""
        return any(
            item.outcome is not None or (generation.streamed and item.piece is not None)
            for generation, item in self.told
        )


class DecoderThread(Generic[Work]):
    """Drives a decoder in one thread of its own; between two steps sequences leave and join."""

    def __init__(self, decoder: Decoder[Work], loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._decoder, self._loop, self._metrics = decoder, loop, metrics
        self._inbox: queue.SimpleQueue[Generation | None] = queue.SimpleQueue()
        self._running: dict[Hashable, Generation] = {}
        self._untold: list[_Step] = []
        # A daemon: a step that never returns must not outlive the grace period.
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    def start(self, generation: Generation) -> None:
        self._inbox.put(generation)

    def cancel(self, generation: Generation) -> None:
        """Nothing to send: ``cancelled`` is read before the next step."""

    def stop(self) -> None:
        self._inbox.put(None)

    def _work(self) -> None:
        while self._take():
            self._drop_cancelled()
            if self._running:
                self._step()

    def _take(self) -> bool:
        """Lets newcomers in; waits for one when nothing runs. False when it is time to end."""
        wait = not self._running
        if wait:
            self._tell_steps()
        while True:
            try:
                generation = self._inbox.get(block=wait)
            except queue.Empty:
                return True
            if generation is None:
                return False
            wait = False
            # Whoever made room for this one by leaving was marked before this one was sent.
            self._drop_cancelled()
            self._join(generation)

    def _join(self, generation: Generation) -> None:
        try:
            self._running[self._decoder.join(generation.work)] = generation
        except ServiceError as error:
            self._tell(generation.finish, error)
        except BaseException as error:  # whatever it is, the caller waits for an answer
            self._crashed([generation], error)

    def _drop_cancelled(self) -> None:
        for handle in [handle for handle, generation in self._running.items() if generation.cancelled]:
            del self._running[handle]
            try:
                self._decoder.leave(handle)
            except BaseException as error:
                self._fail_all(error)
                return

    def _step(self) -> None:
        rows, started = len(self._running), time.perf_counter()
        try:
            news = list(self._decoder.step())
            told = [(self._running[item.handle], item) for item in news]
        except BaseException as error:
            self._fail_all(error)
            return
        seconds = time.perf_counter() - started
        for item in news:
            if item.outcome is not None:
                del self._running[item.handle]
        step = _Step(told, rows, seconds, time.monotonic())
        self._untold.append(step)
        oldest = self._untold[0]
        # By its beginning: of a slow model nobody knows what the next step will take.
        if step.awaited or step.ended - oldest.ended + oldest.seconds >= UNTOLD_SECONDS:
            self._tell_steps()

    def _tell_steps(self) -> None:
        if self._untold:
            untold, self._untold = self._untold, []
            self._tell(self._stepped, untold)

    def _fail_all(self, error: BaseException) -> None:
        """After a fault nobody knows what the state of any sequence is worth."""
        self._tell_steps()
        running, self._running = self._running, {}
        for handle in running:
            with contextlib.suppress(Exception):
                self._decoder.leave(handle)
        self._crashed(list(running.values()), error)

    def _stepped(self, steps: list[_Step]) -> None:
        for told, rows, seconds, ended in steps:
            self._metrics.infer_seconds.observe(seconds)
            self._metrics.batch_items.observe(rows)
            for generation, item in told:
                generation.emit(item.piece, item.tokens, at=ended)
                if item.outcome is not None:
                    generation.finish(item.outcome)

    def _crashed(self, generations: list[Generation], error: BaseException) -> None:
        self._metrics.engine_failures.inc()
        logger.error("The engine raised on %d sequences.", len(generations), exc_info=error)
        for generation in generations:
            self._tell(generation.crash, error)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)


def decode(decoder: Decoder[Work], works: Sequence[Work]) -> list[Any]:
    """Outcomes of works decoded together to their ends, in the caller's own thread."""
    outcomes: list[Any] = [None] * len(works)
    running: dict[Hashable, int] = {}
    for index, work in enumerate(works):
        try:
            running[decoder.join(work)] = index
        except ServiceError as error:
            outcomes[index] = error
    while running:
        for item in decoder.step():
            if item.outcome is not None:
                outcomes[running.pop(item.handle)] = item.outcome
    return outcomes
