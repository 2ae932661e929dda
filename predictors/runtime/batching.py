"""The batcher: many callers, one engine, no caller ever waits for more than its own answer.

Everything here runs on the event loop; a thread (engine_thread.py) does nothing but call the engine.
The rules, each of them property-tested:

- Cost is counted in tokens, not rows. A padded engine pays longest x rows, a packed one the sum.
- An idle engine starts at once; while it works, what arrives is sorted by length and waits.
- A batch is the run of length-neighbours around the most urgent item, so nothing starves.
- The queue is bounded in items and tokens; beyond it callers hear Overloaded at once.
- Expired and abandoned items leave the queue before they cost anything.
- A call of the engine that raises is run again in halves, so that one bad item fails alone.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from predictors.runtime.alarms import Alarms
from predictors.runtime.errors import DeadlineExceeded, Internal, Overloaded, ServiceError, Unavailable
from predictors.runtime.metrics import Metrics

Work = TypeVar("Work")
Result = TypeVar("Result")

Outcome = Result | ServiceError
logger = logging.getLogger(__name__)

_STOPPED = "The server shut down before the answer was ready."


@dataclass(frozen=True)
class Limits:
    max_queue_items: int
    max_queue_tokens: int
    max_batch_items: int
    max_batch_tokens: int


class _Call:
    """One submit(): its entries' outcomes, and the future its caller awaits."""

    __slots__ = (
        "arrival",
        "deadline",
        "future",
        "outcomes",
        "pending",
        "queued_items",
        "queued_tokens",
        "started",
    )

    def __init__(
        self, size: int, tokens: int, arrival: float, deadline: float, future: asyncio.Future[None]
    ) -> None:
        # In time.perf_counter's seconds; the loop's clock, which deadline is in, may count milliseconds.
        self.arrival = self.started = arrival
        self.outcomes: list[Any] = [None] * size
        self.pending = size  # entries without an outcome yet
        self.queued_items = size  # entries not yet handed to the engine
        self.queued_tokens = tokens
        self.deadline = deadline
        self.future = future

    @property
    def alive(self) -> bool:
        return not self.future.done()


@dataclass(slots=True, eq=False)
class _Entry(Generic[Work]):
    call: _Call
    index: int
    work: Work
    tokens: int


@dataclass(slots=True, eq=False)
class Batch(Generic[Work]):
    """What the engine is asked to do in one go, and afterwards what came of it."""

    entries: list[_Entry[Work]]
    outcomes: Sequence[Any] = ()
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return sum(entry.tokens for entry in self.entries)


class Engine(Protocol):
    """Where batches run. ``start`` returns at once and calls ``done`` on the event loop later."""

    def start(self, batch: Batch[Any], done: Callable[[Batch[Any]], None]) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Batcher(Generic[Work, Result]):
    """Queue and batch former in front of one engine; to be used from one event loop only."""

    engine: Engine
    limits: Limits
    metrics: Metrics
    padded: bool = False
    last_error: str | None = None
    _waiting: list[_Entry[Work]] = field(default_factory=list)  # sorted by tokens; some may be dead
    _retries: deque[list[_Entry[Work]]] = field(default_factory=deque)
    _running: Batch[Work] | None = None
    _admitted: int = 0  # items, from admit() until they start or leave
    _tokens: int = 0
    _tokens_per_second: float = 0.0
    _pumping: bool = False
    _closed: bool = False
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._deadlines = Alarms[_Call](self._expire)
        # Read when scraped, not written at every change: the hot path pays nothing for them.
        self.metrics.queue_items.set_function(lambda: self._admitted)
        self.metrics.queue_tokens.set_function(lambda: self._tokens)

    @property
    def queued_items(self) -> int:
        return self._admitted

    @property
    def queued_tokens(self) -> int:
        return self._tokens

    def admit(self, items: int) -> Room[Work, Result]:
        """Takes room for ``items`` before any work is done for them.

        Raises Overloaded when the queue has no such room, Unavailable after close().
        """
        if self._closed:
            raise Unavailable("The server is shutting down.", retry_after=1)
        if self._admitted + items > self.limits.max_queue_items and self._admitted > 0:
            raise self._overloaded("queue_items")
        self._admitted += items
        return Room(self, items)

    def _enter(self, works: Sequence[Work], tokens: Sequence[int], deadline: float) -> _Call:
        """Puts works for which there is room into the queue. Raises Overloaded or Unavailable."""
        total = sum(tokens)
        if self._stopped:
            raise Unavailable(_STOPPED, retry_after=1)
        if self._tokens and self._tokens + total > self.limits.max_queue_tokens:
            raise self._overloaded("queue_tokens")
        loop = asyncio.get_running_loop()
        call = _Call(len(works), total, time.perf_counter(), deadline, loop.create_future())
        for index, work in enumerate(works):
            bisect.insort(self._waiting, _Entry(call, index, work, tokens[index]), key=_length)
        self._tokens += total
        self._deadlines.set(call, deadline)
        if self._running is None and not self._pumping:
            # What else arrives in this turn of the loop is one batch with it.
            self._pumping = True
            loop.call_soon(self._pump)
        return call

    def close(self) -> None:
        """No new work from now on; what was admitted still runs."""
        self._closed = True

    def abort(self) -> None:
        """Ends every caller still waiting with Unavailable and stops the engine."""
        self._closed = self._stopped = True
        running = self._running.entries if self._running else []
        for entry in itertools.chain(self._waiting, running, *self._retries):
            _fail(entry.call, Unavailable(_STOPPED, retry_after=1))
        self._waiting.clear()
        self._retries.clear()
        self.engine.stop()

    # -- forming batches

    def _pump(self) -> None:
        self._pumping = False
        if self._running is None and (entries := self._next_retry() or self._next_entries()):
            self._running = Batch(entries)
            self.engine.start(self._running, self._finished)

    def _next_retry(self) -> list[_Entry[Work]]:
        while self._retries:
            if entries := self._alive(self._retries.popleft()):
                return entries
        return []

    def _next_entries(self) -> list[_Entry[Work]]:
        waiting = self._waiting = self._alive(self._waiting)
        if not waiting:
            return []
        first, last = self._window(waiting.index(min(waiting, key=_urgency)))
        entries = waiting[first:last]
        del waiting[first:last]
        now = time.perf_counter()
        for entry in entries:
            call = entry.call
            call.queued_items -= 1
            call.queued_tokens -= entry.tokens
            call.started = now
            self._tokens -= entry.tokens
            self.metrics.queue_seconds.observe(now - call.arrival)
        self._admitted -= len(entries)
        return entries

    def _alive(self, entries: Sequence[_Entry[Work]]) -> list[_Entry[Work]]:
        """Those whose caller still waits; a deadline may be due whose alarm has not rung yet."""
        now = asyncio.get_running_loop().time()
        for entry in entries:
            if entry.call.deadline <= now:
                self._expire(entry.call)
        return [entry for entry in entries if entry.call.alive]

    def _window(self, seed: int) -> tuple[int, int]:
        """The widest [first, last) around ``seed`` within the budget, always taking the nearer length."""
        waiting, limits = self._waiting, self.limits
        first, last = seed, seed + 1
        length = total = waiting[seed].tokens
        while last - first < limits.max_batch_items:
            down = length - waiting[first - 1].tokens if first > 0 else None
            up = waiting[last].tokens - length if last < len(waiting) else None
            if down is None and up is None:
                break
            grow_up = down is None or (up is not None and up <= down)
            added = waiting[last if grow_up else first - 1].tokens
            rows = last - first + 1
            longest = max(waiting[last - 1].tokens, added)
            if (longest * rows if self.padded else total + added) > limits.max_batch_tokens:
                break
            total += added
            first, last = (first, last + 1) if grow_up else (first - 1, last)
        return first, last

    # -- answers

    def _finished(self, batch: Batch[Work]) -> None:
        self._running = None
        entries = batch.entries
        self.metrics.infer_seconds.observe(batch.seconds)
        if batch.error is None and len(batch.outcomes) != len(entries):
            batch.error = RuntimeError(f"{len(batch.outcomes)} outcomes for {len(entries)} items")
        if batch.error is None:
            self._observe(batch)
            for entry, outcome in zip(entries, batch.outcomes, strict=True):
                _answer(entry, outcome)
        else:
            self._failed(entries, batch.error)
        self._pump()

    def _failed(self, entries: list[_Entry[Work]], error: BaseException) -> None:
        self.metrics.engine_failures.inc()
        self.last_error = type(error).__name__
        logger.error("The engine raised on %d items.", len(entries), exc_info=error)
        if len(entries) == 1:
            _answer(entries[0], Internal("The model failed on this input."))
            return
        middle = len(entries) // 2
        self._retries.extendleft((entries[middle:], entries[:middle]))

    def _observe(self, batch: Batch[Work]) -> None:
        tokens, rows = batch.tokens, len(batch.entries)
        self.metrics.batch_items.observe(rows)
        self.metrics.batch_tokens.observe(tokens)
        computed = max(entry.tokens for entry in batch.entries) * rows if self.padded else tokens
        self.metrics.batch_padding.observe(1 - tokens / computed if computed else 0.0)
        if batch.seconds > 0:
            rate = tokens / batch.seconds
            before = self._tokens_per_second or rate
            self._tokens_per_second = before + 0.2 * (rate - before)

    # -- leaving

    def _expire(self, call: _Call) -> None:
        if call.alive:
            self.metrics.rejections.labels("deadline").inc()
            _fail(call, DeadlineExceeded("The request was not answered before its deadline."))

    def _forget(self, call: _Call) -> None:
        """The caller has its answer or has gone: what of it still waits costs nobody anything any more."""
        self._deadlines.cancel(call)
        if call.future.done() and not call.future.cancelled():
            call.future.exception()  # retrieved, also when the caller was cancelled in the same moment
        self._admitted -= call.queued_items
        self._tokens -= call.queued_tokens
        call.queued_items = call.queued_tokens = 0
        if len(self._waiting) > 2 * self._admitted + 64:
            self._waiting = [entry for entry in self._waiting if entry.call.alive]

    def _overloaded(self, reason: str) -> Overloaded:
        self.metrics.rejections.labels(reason).inc()
        rate = self._tokens_per_second
        wait = math.ceil(self._tokens / rate) if rate else 1
        return Overloaded("The model is overloaded; try again later.", retry_after=min(max(wait, 1), 60))


class Room(Generic[Work, Result]):
    """Room in the queue, taken before the work for it is made; leaving gives back what was not submitted."""

    def __init__(self, batcher: Batcher[Work, Result], items: int) -> None:
        self._batcher, self._items = batcher, items
        self.queue_seconds = self.infer_seconds = 0.0
        """Afterwards: how long the last item waited, and from its start to the answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._batcher._admitted -= self._items

    async def submit(self, works: Sequence[Work], tokens: Sequence[int], deadline: float) -> list[Outcome]:
        """One outcome for each work, in order; at most as many works as there is room for.

        ``deadline`` is in the loop's time (seconds). Raises Overloaded, DeadlineExceeded or Unavailable for
        the whole call; an item's own fault is in its outcome.
        """
        if not works:
            return []
        call = self._batcher._enter(works, tokens, deadline)
        self._items -= len(works)  # from here on the call gives it back
        try:
            await call.future
        finally:
            self._batcher._forget(call)
            self.queue_seconds = call.started - call.arrival
            self.infer_seconds = time.perf_counter() - call.started
        return call.outcomes


def _length(entry: _Entry) -> int:
    return entry.tokens


def _urgency(entry: _Entry) -> tuple[float, float]:
    return (entry.call.deadline, entry.call.arrival)


def _answer(entry: _Entry, outcome: Any) -> None:
    call = entry.call
    call.outcomes[entry.index] = outcome
    call.pending -= 1
    if call.pending == 0 and call.alive:
        call.future.set_result(None)


def _fail(call: _Call, error: ServiceError) -> None:
    if call.alive:
        call.future.set_exception(error)
