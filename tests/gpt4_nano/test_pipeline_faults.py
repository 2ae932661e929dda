"""Nothing is lost and nothing is told twice, whoever is killed when. Real broker, real Triton, SIGKILL."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from hack.kafka import Broker
from predictors.gpt4_nano.pipeline.messages import DLQ, RESULTS
from tests.support import triton
from tests.support.pipeline import Consumer, Outcomes, message, send
from tests.support.triton import Triton

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

MESSAGES, KEYS, KILLS = 5000, 40, 10
QUICK = {"session_timeout": "3", "retry_base": "0.1", "retry_longest": "1", "call_timeout": "20"}


@pytest.fixture
def slow_triton(tmp_path: Path) -> Iterator[Triton]:
    """A batch takes 50 ms, so that there is always work under way."""
    with triton.running(tmp_path / "triton.txt", QUINTET_MOCK_BATCH_SECONDS="0.05") as server:
        yield server


@contextlib.contextmanager
def consuming(broker: Broker, server: Triton, log: Path) -> Iterator[Consumer]:
    consumer = Consumer(broker.bootstrap, server.grpc, log, dict(QUICK))
    consumer.start()
    try:
        yield consumer
    finally:
        if consumer.process is not None:
            consumer.stop(signal.SIGKILL)


async def committed(broker: Broker, least: int, seconds: float = 600) -> None:
    """Returns when so many offsets of results and dead letters are taken; markers count as well."""
    reader = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
    await reader.start()
    partitions = [TopicPartition(topic, number) for topic in (RESULTS, DLQ) for number in range(4)]
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    if sum((await reader.end_offsets(partitions)).values()) >= least:
                        return
                except Exception:  # while the broker is away
                    pass
                await asyncio.sleep(0.05)
    finally:
        await reader.stop()


def requests(seed: int) -> tuple[list[tuple[str, bytes]], set[str], int]:
    """Messages with their keys, the ids of the good ones, and how many are poison (1 %)."""
    random_ = random.Random(seed)
    poison = set(random_.sample(range(MESSAGES), MESSAGES // 100))
    sent: list[tuple[str, bytes]] = []
    good: set[str] = set()
    for number in range(MESSAGES):
        key = f"key-{number % KEYS}"
        if number in poison:
            sent.append((key, random_.choice([b"{not json", b"\xff\xfe\x00", b"[]", b'{"payload": {}}'])))
            continue
        request_id = f"{key}:{number:06d}"
        good.add(request_id)
        sent.append((key, message(request_id, max_tokens=5)))
    return sent, good, len(poison)


def check(outcomes: Outcomes, good: set[str], poison: int) -> None:
    counts = collections.Counter(body["request_id"] for body in outcomes.bodies)
    assert good - counts.keys() == set(), "lost"
    assert {name: count for name, count in counts.items() if count > 1} == {}, "told twice"
    assert counts.keys() - good == set()
    assert all(body["success"] for body in outcomes.bodies)
    sources = collections.Counter(source(record) for record in outcomes.dead)
    assert (len(sources), set(sources.values())) == (poison, {1})
    last: dict[str, str] = {}
    for record, body in zip(outcomes.results, outcomes.bodies, strict=True):
        key = record.key.decode()
        assert last.get(key, "") < body["request_id"], "out of order"
        last[key] = body["request_id"]


def source(record: Any) -> tuple[bytes, bytes]:
    headers = dict(record.headers)
    return headers["dlq-partition"], headers["dlq-offset"]


async def test_nothing_is_lost_whatever_is_killed(
    broker: Broker, slow_triton: Triton, tmp_path: Path
) -> None:
    """The consumer killed ten times, the broker and Triton each once, while 5,000 messages pass."""
    sent, good, poison = requests(seed=7)
    await send(broker.bootstrap, sent)
    random_ = random.Random(11)
    moments = sorted(random_.sample(range(50, MESSAGES - 200), KILLS))
    log = tmp_path / "consumer.txt"
    with consuming(broker, slow_triton, log) as consumer:
        consumer.wait_until_ready(180)
        for number, moment in enumerate(moments):
            await committed(broker, moment)
            if number == 3:
                await asyncio.to_thread(slow_triton.stop, kill=True)
                await asyncio.to_thread(slow_triton.start)
            if number == 6:
                await asyncio.to_thread(broker.stop, kill=True)
                await asyncio.to_thread(broker.start)
            consumer.stop(signal.SIGKILL)
            consumer.start()
        outcomes = Outcomes(broker.bootstrap)
        await outcomes.read(len(good) + poison, seconds=600)
        check(outcomes, good, poison)
        consumer.wait_until_ready(180)
        assert consumer.stop() == 0


async def test_two_consumers_share_and_one_may_come_and_go(
    broker: Broker, slow_triton: Triton, tmp_path: Path
) -> None:
    """A second consumer joins, and the first one leaves by SIGTERM, both while messages pass."""
    sent, good, poison = requests(seed=8)
    await send(broker.bootstrap, sent)
    with consuming(broker, slow_triton, tmp_path / "first.txt") as first:
        first.wait_until_ready(180)
        await committed(broker, 500)
        with consuming(broker, slow_triton, tmp_path / "second.txt") as second:
            second.wait_until_ready(180)
            await committed(broker, 2500)
            assert first.stop() == 0
            outcomes = Outcomes(broker.bootstrap)
            await outcomes.read(len(good) + poison, seconds=600)
            check(outcomes, good, poison)
            second.wait_until_ready(180)
