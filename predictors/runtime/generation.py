"""Generation: sequences that join and leave a running engine between two of its steps (continuous batching).

A batch that is handed over whole holds its short members until the longest ends. Here every sequence comes
and goes by itself, tells its news piece by piece, and ends when its caller does. The rules, property-tested:

- A sequence joins as soon as there is room for it: so many at a time, so many tokens (its prompt and the most
  it may generate) in all. Who is due first joins first.
- The queue is bounded in items and tokens; beyond it callers hear Overloaded at once.
- A caller that goes, or a deadline that passes, ends its sequence: at most the step under way is still run.
- Everybody gets its own pieces, in order, and its own end; an engine that raises fails those it was running.

Everything here runs on the event loop. What runs the sequences is an ``Engine``: decoding.py's thread, which
drives a model step by step, or one with a loop of its own (vLLM).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from predictors.runtime.batching import Limits
from predictors.runtime.errors import DeadlineExceeded, Internal, Overloaded, ServiceError, Unavailable
from predictors.runtime.metrics import Metrics

Work = TypeVar("Work")
Piece = TypeVar("Piece")
Result = TypeVar("Result")

Outcome = Result | ServiceError
logger = logging.getLogger(__name__)

_STOPPED = "The server shut down before the answer was ready."


class Engine(Protocol):
    """Where generations run. It tells what it does by their ``emit`` and ``finish``, on the event loop."""

    def start(self, generation: Generation[Any, Any, Any]) -> None: ...
    def cancel(self, generation: Generation[Any, Any, Any]) -> None: ...
    def stop(self) -> None: ...


class Generation(Generic[Work, Piece, Result]):
    """One sequence, from its place in the queue to its end. Iterating gives its pieces, then it has ended."""

    def __init__(
        self, batcher: ContinuousBatcher, work: Work, tokens: int, deadline: float, *, streamed: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        self.work, self.tokens, self.deadline = work, tokens, deadline
        self.streamed = streamed
        self.arrival = loop.time()
        self.started = self.ended = 0.0
        self.first_token: float | None = None
        self.generated = 0
        self.cancelled = False
        """Read by the engine between two steps, from its own thread."""
        self.now = loop.time
        self._batcher = batcher
        self._pieces: deque[Piece] = deque()
        self._news = asyncio.Event()
        self._end: asyncio.Future[Outcome[Result]] = loop.create_future()
        self._timer = loop.call_at(deadline, batcher._expire, self)

    @property
    def alive(self) -> bool:
        return not self._end.done()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Raises what ended the sequence before its time: DeadlineExceeded, Unavailable or its own error."""
        while self._pieces or self.alive:
            if not self._pieces:
                self._news.clear()
                await self._news.wait()
                continue
            yield self._pieces.popleft()
        if isinstance(outcome := await self.outcome(), ServiceError):
            raise outcome

    async def outcome(self) -> Outcome[Result]:
        """The result, or the sequence's own error. Raises DeadlineExceeded or Unavailable."""
        return await asyncio.shield(self._end)

    @property
    def result(self) -> Result:
        """Once iterating has ended."""
        outcome = self._end.result()
        assert not isinstance(outcome, ServiceError)
        return outcome

    def cancel(self) -> None:
        """The caller has gone, or has all it wants."""
        self._batcher._cancel(self)

    @property
    def seconds(self) -> tuple[float, float]:
        """How long it waited and how long it ran, until now or its end."""
        started, ended = self.started or self.now(), self.ended or self.now()
        return started - self.arrival, ended - started

    # -- called by the engine, on the event loop

    def emit(self, piece: Piece | None = None, tokens: int = 1, at: float | None = None) -> None:
        """``at``: when the tokens were there, in the loop's time, if not now."""
        if not self.alive:
            return
        if tokens:
            self._batcher._observe_tokens(self, tokens, at)
        if piece is not None and self.streamed:
            self._pieces.append(piece)
            self._news.set()

    def finish(self, outcome: Outcome[Result]) -> None:
        if self.alive:
            self._close()
            self._end.set_result(outcome)
            self._batcher._ended(self)

    def crash(self, error: BaseException) -> None:
        """The engine raised while it ran this one."""
        self._batcher.last_error = type(error).__name__
        self.finish(Internal("The model failed on this input."))

    def _fail(self, error: ServiceError) -> None:
        self._close()
        self._end.set_exception(error)
        self._end.exception()  # retrieved, also when nobody is left to hear it

    def _close(self) -> None:
        self._timer.cancel()
        self._news.set()


@dataclass
class ContinuousBatcher(Generic[Work, Piece, Result]):
    """Queue in front of one generating engine; to be used from one event loop only."""

    engine: Engine
    limits: Limits
    metrics: Metrics
    last_error: str | None = None
    _waiting: list[tuple[float, int, Generation]] = field(default_factory=list)  # a heap; some may be dead
    _running: set[Generation] = field(default_factory=set)
    _running_tokens: int = 0
    _arrivals: Iterable[int] = field(default_factory=itertools.count)
    _admitted: int = 0  # items, from admit() until they start or leave
    _tokens: int = 0
    _seconds: float = 0.0  # that a sequence runs, by experience
    _closed: bool = False
    _stopped: bool = False

    def __post_init__(self) -> None:
        self.metrics.queue_items.set_function(lambda: self._admitted)
        self.metrics.queue_tokens.set_function(lambda: self._tokens)

    @property
    def queued_items(self) -> int:
        return self._admitted

    @property
    def queued_tokens(self) -> int:
        return self._tokens

    def admit(self, items: int) -> Room[Work, Piece, Result]:
        """As Batcher.admit: room for ``items``. Raises Overloaded, or Unavailable after close()."""
        if self._closed:
            raise Unavailable("The server is shutting down.", retry_after=1)
        if self._admitted + items > self.limits.max_queue_items and self._admitted > 0:
            raise self._overloaded("queue_items")
        self._admitted += items
        return Room(self, items)

    def close(self) -> None:
        """No new work from now on; what was admitted still runs."""
        self._closed = True

    def abort(self) -> None:
        """Ends every caller still waiting with Unavailable and stops the engine."""
        self._closed = self._stopped = True
        for generation in [entry[-1] for entry in self._waiting] + list(self._running):
            self._give_up(generation, Unavailable(_STOPPED, retry_after=1))
        self.engine.stop()

    def _enter(
        self, works: Sequence[Work], tokens: Sequence[int], deadline: float, *, streamed: bool
    ) -> list[Generation[Work, Piece, Result]]:
        total = sum(tokens)
        if self._stopped:
            raise Unavailable(_STOPPED, retry_after=1)
        if self._tokens and self._tokens + total > self.limits.max_queue_tokens:
            raise self._overloaded("queue_tokens")
        entered = [
            Generation(self, work, cost, deadline, streamed=streamed)
            for work, cost in zip(works, tokens, strict=True)
        ]
        for generation in entered:
            heapq.heappush(self._waiting, (deadline, next(self._arrivals), generation))  # type: ignore[call-overload]
        self._tokens += total
        self._pump()
        return entered

    def _pump(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._waiting:
            generation = self._waiting[0][-1]
            if generation.alive and generation.deadline <= now:  # its timer is due as well
                self._expire(generation)
            elif generation.alive and not self._fits(generation):
                return
            else:
                heapq.heappop(self._waiting)
                if generation.alive:
                    self._start(generation, now)

    def _fits(self, generation: Generation) -> bool:
        limits = self.limits
        return not self._running or (
            len(self._running) < limits.max_batch_items
            and self._running_tokens + generation.tokens <= limits.max_batch_tokens
        )

    def _start(self, generation: Generation, now: float) -> None:
        self._dequeue(generation)
        generation.started = now
        self._running.add(generation)
        self._running_tokens += generation.tokens
        self.metrics.queue_seconds.observe(now - generation.arrival)
        self.engine.start(generation)

    def _dequeue(self, generation: Generation) -> None:
        self._admitted -= 1
        self._tokens -= generation.tokens

    # -- leaving

    def _ended(self, generation: Generation) -> None:
        """A running sequence has come to its end, or was ended."""
        self._running.discard(generation)
        self._running_tokens -= generation.tokens
        generation.ended = generation.now()
        seconds = generation.ended - generation.started
        before = self._seconds or seconds
        self._seconds = before + 0.2 * (seconds - before)
        if generation.generated and seconds:
            self.metrics.tokens_per_second.observe(generation.generated / seconds)
        self._pump()

    def _expire(self, generation: Generation) -> None:
        if generation.alive:
            self.metrics.rejections.labels("deadline").inc()
            error = DeadlineExceeded("The request was not answered before its deadline.")
            self._give_up(generation, error)

    def _cancel(self, generation: Generation) -> None:
        if generation.alive:
            self._give_up(generation, Unavailable("The caller has gone."))

    def _give_up(self, generation: Generation, error: ServiceError) -> None:
        if not generation.alive:
            return
        generation._fail(error)
        if generation in self._running:
            generation.cancelled = True
            self.engine.cancel(generation)
            self._ended(generation)
        else:
            self._dequeue(generation)
            if len(self._waiting) > 2 * self._admitted + 64:
                self._bury()

    def _bury(self) -> None:
        self._waiting = [entry for entry in self._waiting if entry[-1].alive]
        heapq.heapify(self._waiting)

    def _observe_tokens(self, generation: Generation, tokens: int, at: float | None) -> None:
        generation.generated += tokens
        self.metrics.generated_tokens.inc(tokens)
        if generation.first_token is None:
            generation.first_token = generation.now() if at is None else at
            self.metrics.first_token_seconds.observe(generation.first_token - generation.arrival)

    def _overloaded(self, reason: str) -> Overloaded:
        self.metrics.rejections.labels(reason).inc()
        turns = math.ceil(self._admitted / self.limits.max_batch_items)
        wait = math.ceil(turns * self._seconds)
        return Overloaded("The model is overloaded; try again later.", retry_after=min(max(wait, 1), 60))


class Room(Generic[Work, Piece, Result]):
    """Room in the queue, taken before the work for it is made; leaving gives back what was not submitted."""

    def __init__(self, batcher: ContinuousBatcher[Work, Piece, Result], items: int) -> None:
        self._batcher, self._items = batcher, items
        self.queue_seconds = self.infer_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._batcher._admitted -= self._items

    async def submit(self, works: Sequence[Work], tokens: Sequence[int], deadline: float) -> list[Outcome]:
        """As batching.Room.submit: one outcome for each work, in order, once all have ended."""
        entered = self._open(works, tokens, deadline, streamed=False)
        try:
            return [await generation.outcome() for generation in entered]
        finally:
            for generation in entered:
                generation.cancel()
                queued, ran = generation.seconds
                self.queue_seconds = max(self.queue_seconds, queued)
                self.infer_seconds = max(self.infer_seconds, ran)

    def open(self, work: Work, tokens: int, deadline: float) -> Generation[Work, Piece, Result]:
        """A sequence whose pieces are wanted as they come; whoever opens it must cancel() it in the end."""
        (generation,) = self._open([work], [tokens], deadline, streamed=True)
        return generation

    def _open(
        self, works: Sequence[Work], tokens: Sequence[int], deadline: float, *, streamed: bool
    ) -> list[Generation]:
        entered = self._batcher._enter(works, tokens, deadline, streamed=streamed)
        self._items -= len(works)  # from here on each gives its own back
        return entered
