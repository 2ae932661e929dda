"""Nothing is lost and nothing is told twice, whoever is killed when. Real broker, real Triton, SIGKILL."""

from __future__ import annotations

import asyncio
import collections
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.kafka import Broker
from tests.support import triton
from tests.support.pipeline import Outcomes, consuming, message, outcomes_from_now, send
from tests.support.triton import Triton

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

MESSAGES, KEYS, KILLS = 5000, 40, 10
QUICK = {"session_timeout": "2", "retry_base": "0.1", "retry_longest": "1", "call_timeout": "20"}


@pytest.fixture(scope="module")
def slow_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A batch takes 20 ms, so that there is always work under way."""
    log = tmp_path_factory.mktemp("slow") / "log.txt"
    with triton.running(log, QUINTET_MOCK_BATCH_SECONDS="0.02") as server:
        yield server


def requests(seed: int, messages: int) -> tuple[list[tuple[str, bytes]], set[str], int]:
    """Messages with their keys, the ids of the good ones, and how many are poison (1 %)."""
    random_ = random.Random(seed)
    poison = set(random_.sample(range(messages), messages // 100))
    sent: list[tuple[str, bytes]] = []
    good: set[str] = set()
    for number in range(messages):
        key = f"key-{number % KEYS}"
        if number in poison:
            sent.append((key, random_.choice([b"{not json", b"\xff\xfe\x00", b"[]", b'{"payload": {}}'])))
            continue
        request_id = f"{seed}:{key}:{number:06d}"
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
    sent, good, poison = requests(seed=7, messages=MESSAGES)
    moments = sorted(random.Random(11).sample(range(50, MESSAGES - 200), KILLS))
    with consuming(broker.bootstrap, slow_triton.grpc, tmp_path / "consumer.txt", **QUICK) as consumer:
        async with outcomes_from_now(broker.bootstrap) as outcomes:
            await send(broker.bootstrap, sent)
            for number, moment in enumerate(moments):
                await outcomes.read(moment)
                if number == 3:
                    await asyncio.to_thread(slow_triton.stop, kill=True)
                    await asyncio.to_thread(slow_triton.start)
                if number == 6:
                    await asyncio.to_thread(broker.stop, kill=True)
                    await asyncio.to_thread(broker.start)
                consumer.stop(signal.SIGKILL)
                consumer.start()
            await outcomes.read_all(len(good) + poison, seconds=600)
            check(outcomes, good, poison)
        await asyncio.to_thread(consumer.wait_until_ready)
        assert consumer.stop() == 0


async def test_two_consumers_share_and_one_may_come_and_go(
    broker: Broker, slow_triton: Triton, tmp_path: Path
) -> None:
    """A second consumer joins, and the first one leaves by SIGTERM, both while messages pass."""
    sent, good, poison = requests(seed=8, messages=2000)
    with consuming(broker.bootstrap, slow_triton.grpc, tmp_path / "first.txt", **QUICK) as first:
        async with outcomes_from_now(broker.bootstrap) as outcomes:
            await send(broker.bootstrap, sent)
            await outcomes.read(200)
            with consuming(broker.bootstrap, slow_triton.grpc, tmp_path / "second.txt", **QUICK) as second:
                await outcomes.read(1000)
                assert first.stop() == 0
                await outcomes.read_all(len(good) + poison, seconds=600)
                check(outcomes, good, poison)
                await asyncio.to_thread(second.wait_until_ready)
