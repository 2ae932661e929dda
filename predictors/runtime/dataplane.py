"""The core between transports and engine: items in, outcomes out, the same for every transport."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import numpy as np

from predictors.runtime.batching import Batcher
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from predictors.runtime.generation import ContinuousBatcher, Generation
from predictors.runtime.lifecycle import Lifecycle, State
from predictors.runtime.logging import request_timings
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import Predictor
from predictors.runtime.settings import RuntimeSettings
from predictors.runtime.tensors import DTYPES, detail

Item = TypeVar("Item")
Result = TypeVar("Result")

LITTLE_TEXT, ITEM = 400, 40
"""Characters that the tokenizers here read in about a tenth of a millisecond, and those that an item costs.

Measured: 400 of one text 0.07 to 0.13 ms; 100 items of no text 0.25, of one or two short ones 0.65 to 1.
"""

Place = Callable[[int, str], str]
"""Where a caller finds a field of item i: for v1 ``(3, "prompt") -> instances[3].prompt``."""


class DataPlane(Generic[Item, Result]):
    def __init__(
        self,
        predictor: Predictor[Item, Any, Result],
        batcher: Batcher[Any, Result] | ContinuousBatcher[Any, Any, Result],
        lifecycle: Lifecycle,
        settings: RuntimeSettings,
        metrics: Metrics,
        tokenizers: ThreadPoolExecutor,
    ) -> None:
        self.predictor = predictor
        self.lifecycle = lifecycle
        self.settings = settings
        self.batcher = batcher
        self._metrics = metrics
        self._tokenizers = tokenizers
        self.inputs = {spec.name: spec for spec in predictor.inputs}
        self.outputs = {spec.name: spec for spec in predictor.outputs}
        self._prepares = type(predictor).prepare is not Predictor.prepare
        self._holds = type(predictor).hold is not Predictor.hold
        self._largest = {
            spec.name: float(np.finfo(DTYPES[spec.datatype]).max)
            for spec in predictor.outputs
            if spec.datatype.startswith("FP")
        }
        self._key = settings.api_key.get_secret_value().encode()
        self._exchanges = _Exchanges()
        self._bytes = _Bytes(settings.max_queue_bytes, metrics)
        self._refusing = False

    def check_accepting(self) -> None:
        """Raises Unavailable while loading, after a failed load and once draining has refused new work."""
        if self.lifecycle.accepting:
            return
        loading = self.lifecycle.state is State.LOADING
        reason = "is still loading" if loading else "cannot take new work"
        self._metrics.rejections.labels("not_ready").inc()
        raise Unavailable(f"The model {reason}.", retry_after=5 if loading else 1)

    def check_key(self, given: bytes | str | None) -> None:
        """Raises Unauthenticated when a key is needed and ``given`` is not it."""
        if self._key:
            given = given.encode() if isinstance(given, str) else given
            # In the same time wherever the first difference is.
            if given is None or not hmac.compare_digest(given, self._key):
                raise Unauthenticated("A valid key is needed in the header x-api-key.")

    def check_count(self, count: int, field: str) -> None:
        """Raises InvalidValue for an empty request and for more items than the settings allow."""
        limit = self.settings.max_items
        if not 1 <= count <= limit:
            message = f"must have 1 to {limit} items, not {count}"
            raise InvalidValue(f"{field} {message}.", details=[detail(field, message)])

    def parse(self, rows: Sequence[Mapping[str, Any]], place: Place) -> list[Item]:
        """Items of v1 instances or v2 rows; an error's details name the field as ``place`` says."""
        items = []
        for index, fields in enumerate(rows):
            try:
                items.append(self.predictor.parse(fields))
            except ServiceError as error:
                raise _located(error, index, place) from None
        return items

    async def infer(self, items: Sequence[Item], within: float | None = None) -> list[Result | ServiceError]:
        """One outcome for each item, in order. ``within``: seconds, if fewer than the settings allow.

        Raises Unavailable, Overloaded or DeadlineExceeded for the whole call.
        """
        self.check_accepting()
        started = time.perf_counter()
        deadline = self._deadline(within)
        timings = request_timings.get({})
        try:
            with self.batcher.admit(len(items)) as room:
                async with self._held(items, deadline) if self._holds else _NOTHING:
                    works = await self._prepare(items, deadline)
                    timings["tokenize_seconds"] = time.perf_counter() - started
                    good = [work for work in works if not isinstance(work, ServiceError)]
                    tokens = [self.predictor.tokens(work) for work in good]
                    try:
                        outcomes = iter(await room.submit(good, tokens, deadline))
                    finally:
                        timings["queue_seconds"], timings["infer_seconds"] = (
                            room.queue_seconds,
                            room.infer_seconds,
                        )
            return [work if isinstance(work, ServiceError) else next(outcomes) for work in works]
        finally:
            self._metrics.total_seconds.observe(time.perf_counter() - started)

    @contextlib.asynccontextmanager
    async def stream(self, item: Item) -> AsyncIterator[Generation[Any, Any, Result]]:
        """One item's pieces as they come, of a model that generates; leaving ends its sequence.

        Entering raises what infer raises and the item's own error, iterating what ends the sequence early.
        """
        self.check_accepting()
        assert isinstance(self.batcher, ContinuousBatcher)
        started = time.perf_counter()
        deadline = self._deadline(None)
        timings = request_timings.get({})
        try:
            with self.batcher.admit(1) as room:
                async with self._held([item], deadline):
                    (work,) = await self._prepare([item], deadline)
                    timings["tokenize_seconds"] = time.perf_counter() - started
                    if isinstance(work, ServiceError):
                        raise work
                    generation = room.open(work, self.predictor.tokens(work), deadline)
                    try:
                        yield generation
                    finally:
                        generation.cancel()
                        timings["queue_seconds"], timings["infer_seconds"] = generation.seconds
        finally:
            self._metrics.total_seconds.observe(time.perf_counter() - started)

    async def infer_all(
        self, items: Sequence[Item], place: Place, within: float | None = None
    ) -> list[Result]:
        """As infer, for transports with no place for an item's own error: the first one fails the call."""
        results: list[Result] = []
        for index, outcome in enumerate(await self.infer(items, within)):
            if isinstance(outcome, ServiceError):
                raise _located(outcome, index, place)
            results.append(outcome)
        return results

    def render(self, results: Sequence[Result]) -> list[Mapping[str, Any]]:
        """Output name -> value of each result. Raises Internal for a number that JSON could not carry."""
        rendered = [self.predictor.render(result) for result in results]
        for fields in rendered:
            for name, largest in self._largest.items():
                value = fields[name]
                if value is None:
                    continue
                # False for NaN, infinity and what the declared type cannot hold.
                fits = abs(value) <= largest if isinstance(value, float) else np.abs(value) <= largest
                if fits is not True and not np.all(fits):
                    raise Internal(f"The model's output {name} is not finite.")
        return rendered

    def exchange(self) -> AbstractContextManager[object]:
        """Around a request and its answer; quiet() waits for those begun before refuse()."""
        return _NOTHING if self._refusing else self._exchanges

    def holding(self, size: int) -> AbstractContextManager[object]:
        """Around the time a request's ``size`` bytes are kept. Raises Overloaded when too many are."""
        return self._bytes.take(size)

    def refuse(self) -> None:
        """No new work from now on."""
        self._refusing = True
        self.lifecycle.accepting = False
        self.batcher.close()

    async def quiet(self) -> None:
        """Returns when every exchange that began before refuse() has ended."""
        await self._exchanges.none.wait()

    def _deadline(self, within: float | None) -> float:
        limit = self.settings.request_timeout
        return asyncio.get_running_loop().time() + (limit if within is None else min(within, limit))

    @contextlib.asynccontextmanager
    async def _held(self, items: Sequence[Item], deadline: float) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(deadline):
                    await stack.enter_async_context(self.predictor.hold(items))
            except TimeoutError:
                self._metrics.rejections.labels("deadline").inc()
                raise DeadlineExceeded("The request was not answered before its deadline.") from None
            yield

    async def _prepare(self, items: Sequence[Item], deadline: float) -> Sequence[Any]:
        if not self._prepares:
            return self.predictor.prepare(items)
        started = time.perf_counter()
        if self.predictor.characters(items) + ITEM * len(items) <= LITTLE_TEXT:
            works = self.predictor.prepare(items)
        else:
            works = await self._prepare_in_thread(items, deadline)
        if len(works) != len(items):
            raise RuntimeError(f"prepare returned {len(works)} works for {len(items)} items")
        self._metrics.tokenize_seconds.observe(time.perf_counter() - started)
        return works

    async def _prepare_in_thread(self, items: Sequence[Item], deadline: float) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                return await loop.run_in_executor(self._tokenizers, self.predictor.prepare, items)
        except TimeoutError:
            self._metrics.rejections.labels("deadline").inc()
            raise DeadlineExceeded("The request was not answered before its deadline.") from None


class _Exchanges:
    """Counts those inside; plain methods, as every request passes here."""

    def __init__(self) -> None:
        self._count = 0
        self.none = asyncio.Event()
        self.none.set()

    def __enter__(self) -> None:
        self._count += 1
        self.none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self.none.set()


class _Bytes:
    """The bytes of all requests under way, up to a limit."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._metrics = limit, metrics
        self.held = 0

    def take(self, size: int) -> _Held:
        if self.held and self.held + size > self._limit:
            self._metrics.rejections.labels("queue_bytes").inc()
            raise Overloaded("The model is overloaded; try again later.", retry_after=1)
        return _Held(self, size)


class _Held:
    __slots__ = ("_bytes", "_size")

    def __init__(self, counter: _Bytes, size: int) -> None:
        self._bytes, self._size = counter, size

    def __enter__(self) -> None:
        self._bytes.held += self._size

    def __exit__(self, *_: object) -> None:
        self._bytes.held -= self._size


_NOTHING: contextlib.nullcontext[None] = contextlib.nullcontext()


def _located(error: ServiceError, index: int, place: Place) -> ServiceError:
    """The same error about item ``index`` of the caller's request."""
    fields = [entry for entry in error.details if "field" in entry]
    if not fields:
        message = f"{place(index, '').rstrip('.')}: {error.message}"
        return type(error)(message, details=error.details, retry_after=error.retry_after)
    details = [{**entry, "field": place(index, entry["field"])} for entry in fields]
    return type(error)(f"{details[0]['field']} {details[0]['message']}.", details=details)
