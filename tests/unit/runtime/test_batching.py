"""The batcher's rules, driven through random interleavings on a loop whose time the test owns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictors.runtime.batching import Batch, Batcher, Limits
from predictors.runtime.engine_thread import EngineThread
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unavailable,
)
from predictors.runtime.metrics import Metrics
from tests.support.loops import VirtualLoop

LIMITS = Limits(max_queue_items=12, max_queue_tokens=100, max_batch_items=4, max_batch_tokens=30)


@dataclass(eq=False)
class Work:
    """A piece of work that says what shall come of it; weakly referenced to see that it is let go."""

    kind: str  # "good", "bad" (an error of its own) or "boom" (the engine raises)
    tokens: int
    started: int = 0


class ManualEngine:
    """Runs a batch when the test says so."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.batch: Batch[Work] | None = None
        self.done: Callable[[Batch[Any]], None] | None = None
        self.stopped = False

    def start(self, batch: Batch[Any], done: Callable[[Batch[Any]], None]) -> None:
        assert self.batch is None, "one batch at a time"
        for entry in batch.entries:
            assert entry.call.alive, "neither abandoned nor expired work is started"
            assert entry.call.deadline > self.loop.time()
            entry.work.started += 1
        self.batch, self.done = batch, done

    def finish(self) -> None:
        if self.batch is None:
            return
        batch, done = self.batch, self.done
        self.batch = self.done = None
        works = [entry.work for entry in batch.entries]
        if any(work.kind == "boom" for work in works):
            batch.error = RuntimeError("boom")
        else:
            batch.outcomes = [InvalidValue("bad") if w.kind == "bad" else ("answer", id(w)) for w in works]
        batch.seconds = 0.1
        assert done is not None
        self.loop.call_soon(done, batch)

    def stop(self) -> None:
        self.stopped = True


class World:
    """A batcher, its engine and its callers."""

    def __init__(self, limits: Limits = LIMITS, *, padded: bool = False) -> None:
        self.loop = VirtualLoop()
        self.engine = ManualEngine(self.loop)
        self.limits, self.padded = limits, padded

        async def build() -> Batcher[Work, Any]:
            return Batcher(self.engine, limits, Metrics(CollectorRegistry()), padded)

        self.batcher = self.loop.run_until_complete(build())
        self.calls: list[asyncio.Task[list[Any]]] = []
        self.answered = 0

    def arrive(self, works: list[Work], within: float = 10.0) -> asyncio.Task[list[Any]] | None:
        """A caller comes; None when it is refused at the door."""

        async def call() -> list[Any]:
            with room:
                deadline = self.loop.time() + within
                outcomes = await room.submit(works, [w.tokens for w in works], deadline)
            for work, outcome in zip(works, outcomes, strict=True):
                if work.kind == "good":
                    assert outcome == ("answer", id(work)), "every caller gets its own answer"
                else:
                    assert isinstance(outcome, InvalidValue if work.kind == "bad" else Internal)
            self.answered += 1
            return outcomes

        room = self.batcher.admit(len(works))
        task = self.loop.create_task(call())
        self.calls.append(task)
        self.loop.settle()
        return task

    def check(self) -> None:
        batcher, batch = self.batcher, self.engine.batch
        live = [entry for entry in batcher._waiting if entry.call.alive]
        assert batcher.queued_items == len(live) <= self.limits.max_queue_items + 5
        assert batcher.queued_tokens == sum(entry.tokens for entry in live)
        if batch is None:
            assert not live, "an idle engine leaves nobody waiting"
        else:
            lengths = [entry.tokens for entry in batch.entries]
            cost = max(lengths) * len(lengths) if self.padded else sum(lengths)
            assert len(lengths) == 1 or cost <= self.limits.max_batch_tokens
            assert len(lengths) <= self.limits.max_batch_items

    def close(self) -> None:
        for call in self.calls:
            call.cancel()
        self.loop.settle()
        for call in self.calls:
            with contextlib.suppress(BaseException):
                call.exception()
        self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def works(*tokens: int, kind: str = "good") -> list[Work]:
    return [Work(kind, n) for n in tokens]


def result(call: asyncio.Task[Any] | None) -> Any:
    assert call is not None
    return call.result()


arrivals = st.tuples(
    st.just("arrive"),
    st.lists(
        st.tuples(st.sampled_from(["good"] * 6 + ["bad", "boom"]), st.integers(1, 40)), min_size=1, max_size=5
    ),
    st.floats(0.0, 5.0),
)
steps = st.one_of(
    arrivals,
    arrivals,
    st.tuples(st.just("finish"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.none(), st.floats(0.0, 3.0)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
    st.tuples(st.just("close"), st.none(), st.none()),
    st.tuples(st.just("abort"), st.none(), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(script=st.lists(steps, max_size=40), padded=st.booleans())
def test_every_caller_gets_its_own_answer_or_error_and_nothing_stays(script: list, padded: bool) -> None:
    world = World(padded=padded)
    made: list[weakref.ref[Work]] = []
    refused = 0
    for name, first, second in script:
        if name == "arrive":
            items = [Work(kind, tokens) for kind, tokens in first]
            made += [weakref.ref(work) for work in items]
            try:
                world.arrive(items, second)
            except (Overloaded, Unavailable):
                refused += 1
            del items
        elif name == "finish":
            world.engine.finish()
        elif name == "wait":
            world.loop.now += second
        elif name == "cancel" and first < len(world.calls):
            world.calls[first].cancel()
        elif name == "close":
            world.batcher.close()
        elif name == "abort":
            world.batcher.abort()
        world.loop.settle()
        if not world.engine.stopped:
            world.check()

    while world.engine.batch is not None:
        world.engine.finish()
        world.loop.settle()
    world.loop.now += 100.0
    world.loop.settle()

    assert all(call.done() for call in world.calls), "nobody hangs"
    for call in world.calls:
        error = None if call.cancelled() else call.exception()
        assert error is None or isinstance(error, ServiceError), error
    assert (world.batcher.queued_items, world.batcher.queued_tokens) == (0, 0)
    world.calls.clear()
    call = error = items = None
    gc.collect()
    assert [ref for ref in made if ref() is not None] == [], "no work outlives its call"
    world.close()


def test_an_idle_engine_starts_at_once(world: World) -> None:
    call = world.arrive(works(5))
    assert world.engine.batch is not None
    world.engine.finish()
    world.loop.settle()
    assert len(result(call)) == 1


def test_what_waits_is_batched_with_its_length_neighbours(world: World) -> None:
    world.arrive(works(1))
    for tokens in (20, 3, 9, 4, 8):
        world.arrive(works(tokens), within=5 if tokens == 4 else 10)
    world.engine.finish()
    world.loop.settle()
    assert world.engine.batch is not None
    # The most urgent item (4) and its nearest lengths within 30 tokens and 4 items.
    assert sorted(entry.tokens for entry in world.engine.batch.entries) == [3, 4, 8, 9]


def test_a_padded_engine_pays_for_the_longest_times_the_rows() -> None:
    world = World(padded=True)
    world.arrive(works(1))
    world.arrive(works(10, 10, 11))
    world.engine.finish()
    world.loop.settle()
    assert world.engine.batch is not None
    assert [entry.tokens for entry in world.engine.batch.entries] == [10, 10]  # 3 x 11 would be over 30
    world.engine.finish()
    world.loop.settle()
    world.engine.finish()
    world.loop.settle()
    world.close()


def test_a_long_item_is_not_starved_by_short_ones(world: World) -> None:
    world.arrive(works(1))
    long = world.arrive(works(60), within=50)
    for turn in range(20):
        assert not (long and long.done())
        world.arrive(works(2, 2, 2, 2), within=10 + turn)
        world.loop.now += 5
        world.engine.finish()
        world.loop.settle()
        if world.engine.batch and any(entry.tokens == 60 for entry in world.engine.batch.entries):
            break
    else:
        pytest.fail("the long item was never started")
    world.engine.finish()
    world.loop.settle()
    assert len(result(long)) == 1


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(world: World) -> None:
    world.arrive(works(1))
    world.arrive(works(*[1] * 12))
    with pytest.raises(Overloaded) as refused:
        world.arrive(works(1))
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1


def test_the_queue_is_bounded_in_tokens_too(world: World) -> None:
    world.arrive(works(1))
    world.arrive(works(90))
    call = world.arrive(works(20))
    with pytest.raises(Overloaded):
        result(call)
    assert world.batcher.queued_items == 1


def test_one_request_larger_than_the_queue_passes_when_nothing_waits(world: World) -> None:
    call = world.arrive(works(*[1] * 20))
    while world.engine.batch:
        world.engine.finish()
        world.loop.settle()
    assert len(result(call)) == 20


def test_an_expired_item_is_answered_on_time_and_never_computed(world: World) -> None:
    world.arrive(works(1))
    late = works(2)
    call = world.arrive(late, within=1)
    world.loop.now += 1.5
    world.loop.settle()
    with pytest.raises(DeadlineExceeded):
        result(call)
    world.engine.finish()
    world.loop.settle()
    assert late[0].started == 0


def test_a_caller_that_has_gone_costs_nothing(world: World) -> None:
    world.arrive(works(1))
    gone = works(2, 3)
    call = world.arrive(gone)
    assert call is not None
    call.cancel()
    world.loop.settle()
    assert world.batcher.queued_items == 0
    world.engine.finish()
    world.loop.settle()
    assert [work.started for work in gone] == [0, 0]


def test_one_item_that_breaks_the_engine_fails_alone(world: World) -> None:
    world.arrive(works(1))
    good = [world.arrive(works(3)) for _ in range(3)]
    bad = world.arrive(works(3, kind="boom"))
    for _ in range(10):
        world.engine.finish()
        world.loop.settle()
    assert [result(call)[0][0] for call in good] == ["answer"] * 3
    assert isinstance(result(bad)[0], Internal)
    assert world.batcher.last_error == "RuntimeError"


def test_an_engine_that_returns_too_few_outcomes_mixes_nothing_up(world: World) -> None:
    call = world.arrive(works(3, kind="boom"))
    batch, done = world.engine.batch, world.engine.done
    assert batch is not None
    assert done is not None
    world.engine.batch = world.engine.done = None
    batch.outcomes = []
    world.loop.call_soon(done, batch)
    world.loop.settle()
    assert isinstance(result(call)[0], Internal)


def test_after_close_nothing_is_admitted_and_what_was_admitted_is_answered(world: World) -> None:
    call = world.arrive(works(3))
    world.batcher.close()
    with pytest.raises(Unavailable):
        world.arrive(works(1))
    world.engine.finish()
    world.loop.settle()
    assert len(result(call)) == 1


async def test_the_engine_runs_in_a_thread_of_its_own() -> None:
    threads: list[int] = []

    def run(batch: Any) -> list[Any]:
        threads.append(threading.get_ident())
        return list(batch)

    engine = EngineThread(run, asyncio.get_running_loop())
    batcher: Batcher[int, int] = Batcher(engine, LIMITS, Metrics(CollectorRegistry()))
    with batcher.admit(2) as room:
        deadline = asyncio.get_running_loop().time() + 5
        assert await room.submit([7, 8], [1, 1], deadline) == [7, 8]
    assert threads
    assert threading.get_ident() not in threads
    batcher.abort()
