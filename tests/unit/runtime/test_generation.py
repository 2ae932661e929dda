"""Continuous batching, driven through random interleavings on a loop whose time the test owns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictors.runtime import decoding
from predictors.runtime.batching import Limits
from predictors.runtime.decoding import DecoderThread, News, decode
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unavailable,
)
from predictors.runtime.generation import ContinuousBatcher, Generation
from predictors.runtime.metrics import Metrics
from tests.unit.runtime.test_batching import VirtualLoop

LIMITS = Limits(max_queue_items=8, max_queue_tokens=60, max_batch_items=3, max_batch_tokens=30)


@dataclass(eq=False)
class Work:
    """A sequence that says how long it is and how it ends; weakly referenced to see that it is let go."""

    length: int  # tokens it generates
    kind: str = "good"  # "good", "bad" (an error of its own) or "boom" (the engine raises)
    cost: int = 5
    steps: int = 0

    @property
    def answer(self) -> str:
        return "".join(self.piece(step) for step in range(1, self.length + 1))

    def piece(self, step: int) -> str:
        return f"<{id(self)}:{step}>"


class ManualEngine:
    """Every sequence it runs comes one token further when the test says so."""

    def __init__(self) -> None:
        self.running: list[Generation[Work, str, str]] = []
        self.stopped = False

    def start(self, generation: Generation[Any, Any, Any]) -> None:
        assert generation.alive, "neither abandoned nor expired work is started"
        self.running.append(generation)

    def cancel(self, generation: Generation[Any, Any, Any]) -> None:
        self.running.remove(generation)

    def stop(self) -> None:
        self.stopped = True

    def step(self) -> None:
        boom = any(generation.work.kind == "boom" for generation in self.running)
        for generation in list(self.running):
            work = generation.work
            work.steps += 1
            if boom:
                self.running.remove(generation)
                generation.crash(RuntimeError("boom"))
                continue
            generation.emit(work.piece(work.steps))
            if work.steps >= work.length:
                self.running.remove(generation)
                generation.finish(InvalidValue("bad") if work.kind == "bad" else work.answer)


class World:
    def __init__(self, limits: Limits = LIMITS) -> None:
        self.loop, self.engine, self.limits = VirtualLoop(), ManualEngine(), limits

        async def build() -> ContinuousBatcher[Work, str, str]:
            return ContinuousBatcher(self.engine, limits, Metrics(CollectorRegistry()))

        self.batcher = self.loop.run_until_complete(build())
        self.calls: list[asyncio.Task[Any]] = []

    def submit(self, works: list[Work], within: float = 10.0) -> asyncio.Task[list[Any]]:
        room = self.batcher.admit(len(works))

        async def call() -> list[Any]:
            with room:
                outcomes = await room.submit(works, [w.cost for w in works], self.loop.time() + within)
            for work, outcome in zip(works, outcomes, strict=True):
                expected = {"good": work.answer, "bad": "InvalidValue", "boom": "Internal"}[work.kind]
                found = type(outcome).__name__ if isinstance(outcome, ServiceError) else outcome
                assert found in (expected, "Internal"), "every caller gets its own answer"
            return outcomes

        return self._keep(call())

    def stream(self, work: Work, within: float = 10.0, heard: list[str] | None = None) -> asyncio.Task[str]:
        room = self.batcher.admit(1)

        async def call() -> str:
            pieces = [] if heard is None else heard
            with room:
                generation = room.open(work, work.cost, self.loop.time() + within)
                try:
                    async for piece in generation:
                        assert piece == work.piece(len(pieces) + 1), "its own pieces, in order"
                        pieces.append(piece)
                    assert generation.result == "".join(pieces) == work.answer
                    return generation.result
                finally:
                    generation.cancel()

        return self._keep(call())

    def _keep(self, call: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(call)
        self.calls.append(task)
        self.loop.settle()
        return task

    def step(self) -> None:
        self.on_loop(self.engine.step)

    def on_loop(self, callback: Callable[[], None]) -> None:
        self.loop.call_soon(callback)
        self.loop.settle()

    def check(self) -> None:
        batcher, running = self.batcher, self.engine.running
        waiting = [entry[-1] for entry in batcher._waiting if entry[-1].alive]
        assert batcher._running == set(running)
        assert batcher.queued_items == len(waiting) <= self.limits.max_queue_items + 4
        assert batcher.queued_tokens == sum(generation.tokens for generation in waiting)
        assert len(running) <= self.limits.max_batch_items
        costs = [generation.tokens for generation in running]
        assert batcher._running_tokens == sum(costs)
        assert len(costs) <= 1 or sum(costs) <= self.limits.max_batch_tokens
        assert running or not waiting, "an idle engine leaves nobody waiting"

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


works = st.builds(
    Work,
    length=st.integers(1, 5),
    kind=st.sampled_from(["good"] * 8 + ["bad", "boom"]),
    cost=st.integers(1, 40),
)
script_steps = st.one_of(
    st.tuples(st.just("submit"), st.lists(works, min_size=1, max_size=4), st.floats(0.0, 5.0)),
    st.tuples(st.just("stream"), works, st.floats(0.0, 5.0)),
    st.tuples(st.just("step"), st.none(), st.none()),
    st.tuples(st.just("step"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.none(), st.floats(0.0, 3.0)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.none()),
    st.tuples(st.just("close"), st.none(), st.none()),
    st.tuples(st.just("abort"), st.none(), st.none()),
)


@settings(max_examples=100, deadline=None)
@given(script=st.lists(script_steps, max_size=40))
def test_everybody_gets_its_own_pieces_and_end_and_nothing_stays(script: list[Any]) -> None:
    world = World()
    made: list[weakref.ref[Work]] = []
    for name, first, second in script:
        with contextlib.suppress(Overloaded, Unavailable):
            if name == "submit":
                items = [Work(work.length, work.kind, work.cost) for work in first]
                made += [weakref.ref(work) for work in items]
                world.submit(items, second)
            elif name == "stream":
                item = Work(first.length, first.kind, first.cost)
                made.append(weakref.ref(item))
                world.stream(item, second)
            elif name == "step":
                world.step()
            elif name == "wait":
                world.loop.now += second
            elif name == "cancel" and first < len(world.calls):
                world.calls[first].cancel()
            elif name == "close":
                world.on_loop(world.batcher.close)
            elif name == "abort":
                world.on_loop(world.batcher.abort)
        items = item = None
        world.loop.settle()
        if not world.engine.stopped:
            world.check()

    while world.engine.running:
        world.step()
    world.loop.now += 100.0
    world.loop.settle()

    assert all(call.done() for call in world.calls), "nobody hangs"
    for call in world.calls:
        error = None if call.cancelled() else call.exception()
        assert error is None or isinstance(error, ServiceError), error
    assert (world.batcher.queued_items, world.batcher.queued_tokens) == (0, 0)
    assert world.batcher._running_tokens == 0
    world.batcher._bury()
    world.calls.clear()
    call = error = None
    gc.collect()
    assert [ref for ref in made if ref() is not None] == [], "no work outlives its call"
    world.close()


def test_a_short_one_joins_a_running_batch_and_leaves_it(world: World) -> None:
    long = world.submit([Work(50)])
    world.step()
    short = world.submit([Work(2)])
    world.step()
    world.step()
    assert short.done()
    assert not long.done()


def test_pieces_are_told_as_they_come(world: World) -> None:
    heard: list[str] = []
    call = world.stream(Work(3), heard=heard)
    world.step()
    assert len(heard) == 1
    assert not call.done()
    world.step()
    world.step()
    assert len(heard) == 3
    assert call.result() == "".join(heard)


def test_who_is_due_first_joins_first(world: World) -> None:
    world.submit([Work(1, cost=30)])
    patient = world.submit([Work(1, cost=30)], within=9)
    urgent = world.submit([Work(1, cost=30)], within=3)
    world.step()
    world.step()
    assert urgent.done()
    assert not patient.done()


def test_a_caller_that_goes_ends_its_sequence_and_makes_room(world: World) -> None:
    first = world.stream(Work(50, cost=20))
    second = world.stream(Work(2, cost=20))
    assert len(world.engine.running) == 1
    first.cancel()
    world.loop.settle()
    (running,) = world.engine.running
    world.step()
    world.step()
    assert running.work.length == 2
    assert second.done()


def test_a_deadline_ends_a_running_sequence(world: World) -> None:
    call = world.stream(Work(50), within=1)
    world.step()
    world.loop.now += 2
    world.loop.settle()
    with pytest.raises(DeadlineExceeded):
        call.result()
    assert world.engine.running == []


def test_a_full_queue_refuses_at_once(world: World) -> None:
    world.submit([Work(1, cost=30)])
    world.submit([Work(1, cost=1) for _ in range(8)])
    with pytest.raises(Overloaded) as refused:
        world.batcher.admit(1)
    assert refused.value.retry_after == 1


def test_an_engine_that_raises_fails_those_it_ran_and_no_others(world: World) -> None:
    boom = world.submit([Work(1, kind="boom", cost=20)])
    later = world.submit([Work(1, cost=20)])
    world.step()
    world.step()
    assert isinstance(boom.result()[0], Internal)
    assert isinstance(later.result()[0], str)
    assert world.batcher.last_error == "RuntimeError"


class Counting:
    """A decoder whose sequences count up to their number.

    -1 is refused, -2 breaks the step, -3 breaks when it leaves, of -4 there is news under another name.
    """

    def __init__(self) -> None:
        self.sequences: dict[Hashable, list[int]] = {}
        self.most = self.made = 0
        self.threads: set[int] = set()
        self.stepping, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.free = True

    def join(self, work: int) -> Hashable:
        if work == -1:
            raise InvalidValue("refused")
        self.made += 1
        self.sequences[self.made] = [work, 0]
        self.most = max(self.most, len(self.sequences))
        return self.made

    def leave(self, handle: Hashable) -> None:
        if self.sequences.pop(handle)[0] == -3:
            raise RuntimeError("secret detail of the engine")

    def step(self) -> list[News]:
        self.threads.add(threading.get_ident())
        self.begun.release()
        if not self.free:
            self.stepping.acquire(timeout=10)
        if any(work == -2 for work, _ in self.sequences.values()):
            raise RuntimeError("secret detail of the engine")
        news = []
        for handle, sequence in list(self.sequences.items()):
            sequence[1] += 1
            ended = 0 < sequence[0] <= sequence[1]
            if ended:
                del self.sequences[handle]
            told = "nobody's" if sequence[0] == -4 else handle
            news.append(News(told, 1, f"{sequence[1]}", sequence[0] if ended else None))
        return news


async def plane(decoder: Counting) -> ContinuousBatcher[int, str, int]:
    metrics = Metrics(CollectorRegistry())
    engine = DecoderThread(decoder, asyncio.get_running_loop(), metrics)
    return ContinuousBatcher(engine, LIMITS, metrics)


def soon() -> float:
    return asyncio.get_running_loop().time() + 10


async def test_the_decoder_runs_in_a_thread_of_its_own_within_its_limits() -> None:
    decoder = Counting()
    batcher = await plane(decoder)
    with batcher.admit(8) as room:
        assert await room.submit([3, 9, 1, 4, 2, 7, -1, 5][:6], [5] * 6, soon()) == [3, 9, 1, 4, 2, 7]
    assert decoder.most == LIMITS.max_batch_items
    assert threading.get_ident() not in decoder.threads
    assert decoder.sequences == {}
    batcher.abort()


async def test_a_hang_up_is_over_after_the_step_under_way() -> None:
    decoder = Counting()
    decoder.free = False
    batcher = await plane(decoder)
    with batcher.admit(1) as room:
        generation = room.open(1000, 5, soon())
        pieces = aiter(generation)
        decoder.stepping.release()
        assert await anext(pieces) == "1"
        generation.cancel()
        decoder.stepping.release()  # the step under way
    with batcher.admit(1) as room:
        decoder.stepping.release()
        assert await room.submit([1], [5], soon()) == [1]
    assert decoder.sequences == {}
    batcher.abort()


async def test_what_a_decoder_refuses_or_breaks_on_fails_alone() -> None:
    decoder = Counting()
    batcher = await plane(decoder)
    with batcher.admit(3) as room:
        refused, good = await room.submit([-1, 2], [5, 5], soon())
        (broken,) = await room.submit([-2], [5], soon())
    assert isinstance(refused, InvalidValue)
    assert good == 2
    assert isinstance(broken, Internal)
    assert "secret" not in broken.message
    assert decoder.sequences == {}
    batcher.abort()


async def test_no_fault_of_a_decoder_ends_its_thread() -> None:
    decoder = Counting()
    batcher = await plane(decoder)
    with batcher.admit(3) as room:
        generation = room.open(-3, 5, soon())
        await anext(aiter(generation))  # it runs
        generation.cancel()
        (misnamed,) = await room.submit([-4], [5], soon())
        assert isinstance(misnamed, Internal)
        assert await room.submit([2], [5], soon()) == [2]
    assert decoder.sequences == {}
    batcher.abort()


@pytest.fixture
async def woken(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whatever other threads wake the loop for."""
    loop, calls = asyncio.get_running_loop(), []
    wake = loop.call_soon_threadsafe

    def noted(callback: Callable[..., object], *arguments: Any) -> asyncio.Handle:
        calls.append(callback)
        return wake(callback, *arguments)

    monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
    return calls


def counts(metrics: Metrics) -> dict[str, float]:
    """What is known of steps and tokens."""
    value = metrics.registry.get_sample_value
    names = ("generated_tokens_total", "infer_seconds_count", "first_token_seconds_count")
    return {name: value(f"quintet_{name}") or 0 for name in names}


@pytest.mark.parametrize(
    ("patience", "handovers"),
    [(3600.0, 1), (0.0, 50), pytest.param(1e-9, 50, id="less than a step takes")],
)
async def test_steps_nobody_waits_for_are_told_together_and_not_too_late(
    monkeypatch: pytest.MonkeyPatch, woken: list[object], patience: float, handovers: int
) -> None:
    monkeypatch.setattr(decoding, "UNTOLD_SECONDS", patience)
    batcher = await plane(Counting())
    with batcher.admit(1) as room:
        assert await room.submit([50], [5], soon()) == [50]
    assert len(woken) == handovers
    assert list(counts(batcher.metrics).values()) == [50, 50, 1]
    batcher.abort()


async def test_a_streams_pieces_are_told_at_once(woken: list[object]) -> None:
    batcher = await plane(Counting())
    with batcher.admit(1) as room:
        generation = room.open(9, 5, soon())
        assert len([piece async for piece in generation]) == 9
    assert len(woken) == 9
    batcher.abort()


async def test_steps_of_a_caller_that_has_gone_are_told_before_the_thread_rests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "UNTOLD_SECONDS", 3600.0)
    decoder = Counting()
    decoder.free = False
    batcher = await plane(decoder)
    with batcher.admit(1) as room:
        gone = asyncio.create_task(room.submit([1000], [5], soon()))
        await asyncio.to_thread(decoder.begun.acquire, timeout=10)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        decoder.stepping.release()
    async with asyncio.timeout(10):
        while counts(batcher.metrics)["infer_seconds_count"] != 1:  # noqa: ASYNC110 (a metric has no event)
            await asyncio.sleep(0)
    batcher.abort()


def test_works_can_be_decoded_without_a_loop() -> None:
    outcomes = decode(Counting(), [2, -1, 5])
    assert [outcomes[0], outcomes[2]] == [2, 5]
    assert isinstance(outcomes[1], InvalidValue)
