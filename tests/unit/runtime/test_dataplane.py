"""From items to outcomes, with tokenising in threads: what goes wrong there gives its room back."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from predictors.runtime.batching import Batcher, Limits
from predictors.runtime.dataplane import ITEM, LITTLE_TEXT, DataPlane
from predictors.runtime.decoding import DecoderThread
from predictors.runtime.engine_thread import EngineThread
from predictors.runtime.errors import (
    DeadlineExceeded,
    Internal,
    InvalidValue,
    Overloaded,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from predictors.runtime.generation import ContinuousBatcher
from predictors.runtime.lifecycle import Lifecycle
from predictors.runtime.logging import request_timings
from predictors.runtime.metrics import Metrics
from predictors.runtime.predictor import Predictor
from predictors.runtime.settings import RuntimeSettings
from predictors.runtime.tensors import TensorSpec
from tests.unit.runtime.test_generation import Counting


class Words(Predictor[str, str, str]):
    """Upper-cases; ``gate`` holds tokenising up, and the item says what shall go wrong."""

    name = "words"
    title = "Words"
    inputs = outputs = (TensorSpec("text", "BYTES"),)

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def load(self, progress: Callable[[str], None]) -> None: ...
    def self_test(self) -> None: ...
    def parse(self, fields: Mapping[str, Any]) -> str:
        return fields["text"]

    def prepare(self, items: Sequence[str]) -> Sequence[str | ServiceError]:
        self.gate.wait(10)
        if "short" in items:
            return []
        if "raise" in items:
            raise RuntimeError("prepare")
        return [InvalidValue("refused") if item == "refused" else item for item in items]

    def tokens(self, work: str) -> int:
        if work == "costly":
            raise RuntimeError("tokens")
        return len(work)

    def run(self, batch: Sequence[str]) -> Sequence[str]:
        return None if "none" in batch else [work.upper() for work in batch]  # type: ignore[return-value]

    def render(self, result: str) -> Mapping[str, Any]:
        return {"text": result}


class Plane:
    def __init__(self, **changes: Any) -> None:
        self.words = Words()
        self.settings = RuntimeSettings(**{"max_queue_items": 8, "request_timeout": 5.0, **changes})
        self.limits = limits = Limits(self.settings.max_queue_items, 1000, 4, 100)
        self.metrics = metrics = Metrics(CollectorRegistry())
        self.engine = EngineThread(self.words.run, asyncio.get_running_loop())
        self.batcher: Batcher[str, str] = Batcher(self.engine, limits, metrics)
        self.pool = ThreadPoolExecutor(2)
        self.lifecycle = lifecycle = Lifecycle()
        lifecycle.loaded()
        self.plane = DataPlane(self.words, self.batcher, lifecycle, self.settings, metrics, self.pool)

    def close(self) -> None:
        self.words.gate.set()
        self.batcher.abort()
        self.pool.shutdown()

    def is_empty(self) -> bool:
        return (self.batcher.queued_items, self.batcher.queued_tokens) == (0, 0)


@pytest.fixture
async def plane() -> Any:
    plane = Plane()
    yield plane
    plane.close()


async def test_an_item_refused_while_tokenising_fails_alone(plane: Plane) -> None:
    first, second, third = await plane.plane.infer(["a", "refused", "b"])
    assert (first, third) == ("A", "B")
    assert isinstance(second, InvalidValue)
    assert plane.is_empty()


@pytest.mark.parametrize("item", ["raise", "costly", "short"])
async def test_a_fault_while_tokenising_gives_the_room_back(plane: Plane, item: str) -> None:
    with pytest.raises(RuntimeError):
        await plane.plane.infer(["a", item])
    assert plane.is_empty()


async def test_a_caller_that_goes_while_tokenising_gives_the_room_back(plane: Plane) -> None:
    plane.words.gate.clear()
    task = asyncio.create_task(plane.plane.infer(["a", "b"]))
    await asyncio.sleep(0)
    assert plane.batcher.queued_items == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert plane.is_empty()


async def test_a_deadline_holds_while_tokenising(plane: Plane) -> None:
    plane.words.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await plane.plane.infer(["a"], within=0.05)
    assert plane.is_empty()


@pytest.mark.parametrize("items", [["a"], ["a"] * 8])
@pytest.mark.parametrize(("more", "on_the_loop"), [(0, True), (1, False)])
async def test_little_text_is_tokenised_without_a_thread(
    plane: Plane, items: list[str], more: int, on_the_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many items of no length are no little text."""
    characters = LITTLE_TEXT - ITEM * len(items) + more
    threads: list[int] = []

    def prepare(items: Sequence[str]) -> Sequence[str]:
        threads.append(threading.get_ident())
        return items

    monkeypatch.setattr(plane.words, "characters", lambda _: characters)
    monkeypatch.setattr(plane.words, "prepare", prepare)
    assert await plane.plane.infer(items) == ["A"] * len(items)
    assert (threads == [threading.get_ident()]) is on_the_loop
    assert plane.metrics.registry.get_sample_value("quintet_tokenize_seconds_count") == 1


async def test_room_is_taken_before_tokenising(plane: Plane) -> None:
    plane.words.gate.clear()
    waiting = asyncio.create_task(plane.plane.infer(["a"] * 8))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await plane.plane.infer(["b"])
    plane.words.gate.set()
    assert await waiting == ["A"] * 8


async def test_an_engine_that_returns_nothing_is_an_error_and_not_a_wait(plane: Plane) -> None:
    (outcome,) = await asyncio.wait_for(plane.plane.infer(["none"]), 2)
    assert isinstance(outcome, Internal)


class Numbers(Words):
    """The number an item says is counted up to, a piece a number."""

    def prepare(self, items: Sequence[str]) -> Sequence[Any]:
        return [int(item) for item in items]

    def tokens(self, work: Any) -> int:
        return work


async def test_a_stream_says_how_long_it_waited_and_ran() -> None:
    plane = Plane()
    batcher = ContinuousBatcher(
        DecoderThread(Counting(), asyncio.get_running_loop(), plane.metrics), plane.limits, plane.metrics
    )
    stages: dict[str, float] = {}
    request_timings.set(stages)
    streaming = DataPlane(Numbers(), batcher, plane.lifecycle, plane.settings, plane.metrics, plane.pool)
    async with streaming.stream("3") as generation:
        assert [piece async for piece in generation] == ["1", "2", "3"]
    assert stages.keys() == {"tokenize_seconds", "queue_seconds", "infer_seconds"}
    assert stages["infer_seconds"] > 0
    batcher.abort()
    plane.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_request_needs_is_held_until_its_last_piece(streamed: bool) -> None:
    held: list[str] = []

    class Holding(Numbers):
        @contextlib.asynccontextmanager
        async def hold(self, items: Sequence[str]) -> AsyncIterator[None]:
            held.extend(items)
            yield
            held.clear()

    plane = Plane()
    decoder = Counting()
    decoder.free = False
    batcher = ContinuousBatcher(
        DecoderThread(decoder, asyncio.get_running_loop(), plane.metrics), plane.limits, plane.metrics
    )
    holding = DataPlane(Holding(), batcher, plane.lifecycle, plane.settings, plane.metrics, plane.pool)

    async def ask() -> None:
        if streamed:
            async with holding.stream("2") as generation:
                assert [piece async for piece in generation] == ["1", "2"]
        else:
            assert await holding.infer(["2"]) == [2]

    asking = asyncio.create_task(ask())
    for _ in range(2):
        assert await asyncio.to_thread(decoder.begun.acquire, timeout=10)
        assert held == ["2"]
        decoder.stepping.release()
    await asking
    assert held == []
    batcher.abort()
    plane.close()


async def test_a_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[object, object]] = []

    def spy(given: bytes, key: bytes) -> bool:
        compared.append((given, key))
        return given == key

    monkeypatch.setattr(hmac, "compare_digest", spy)
    plane = Plane(api_key="a key")
    plane.plane.check_key(b"a key")
    for wrong in ("another", b"a kez", b""):
        with pytest.raises(Unauthenticated):
            plane.plane.check_key(wrong)
    assert compared == [(given, b"a key") for given in (b"a key", b"another", b"a kez", b"")]
    plane.close()


async def test_requests_under_way_are_bounded_in_bytes() -> None:
    plane = Plane(max_queue_bytes=100)
    one = plane.plane.holding(500)  # may be larger when there is no other
    with one, pytest.raises(Overloaded), plane.plane.holding(1):
        pass
    with plane.plane.holding(60), plane.plane.holding(40):
        pass
    plane.close()


async def test_quiet_waits_for_what_began_before_it_refused(plane: Plane) -> None:
    with plane.plane.exchange():
        plane.plane.refuse()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(plane.plane.quiet(), 0.01)
        with pytest.raises(Unavailable):
            await plane.plane.infer(["a"])
    with plane.plane.exchange():  # one that comes to be refused holds nothing up
        await asyncio.wait_for(plane.plane.quiet(), 1)


calls = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from(["a", "bb", "refused", "raise", "costly", "short", "none"]),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from([None, 0, 1, 2]),  # turns of the loop until the caller goes
        st.sampled_from([None, 0.0, 0.001]),  # its deadline
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(calls)
def test_however_calls_end_nothing_stays(script: list) -> None:
    async def play() -> None:
        plane = Plane()
        tasks = []
        for items, leaves, within in script:
            task = asyncio.create_task(plane.plane.infer(items, within))
            tasks.append((task, items))
            if leaves is not None:
                for _ in range(leaves):
                    await asyncio.sleep(0)
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*(task for task, _ in tasks), return_exceptions=True), 5)
        for task, items in tasks:
            if not task.cancelled() and task.exception() is None:
                for item, outcome in zip(items, task.result(), strict=True):
                    assert outcome == item.upper() or isinstance(outcome, ServiceError)
        assert plane.is_empty()
        plane.close()

    asyncio.run(play())
