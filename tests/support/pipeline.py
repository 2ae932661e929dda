"""The consumer service as a process, and what a test sends to it and reads from it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from predictors.gpt4_nano.pipeline import topics
from predictors.gpt4_nano.pipeline.messages import DLQ, REQUESTS, RESULTS
from tests.support.servers import ROOT, free_port


@dataclass
class Consumer:
    """``python -m predictors.gpt4_nano.pipeline``."""

    bootstrap: str
    triton: str
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=free_port)

    def start(self) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("QUINTET_")}
        environ |= {
            "QUINTET_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "QUINTET_TRITON_URL": self.triton,
            "QUINTET_MONITORING_PORT": str(self.port),
            "QUINTET_HOST": "127.0.0.1",
            **{f"QUINTET_{name.upper()}": value for name, value in self.settings.items()},
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "predictors.gpt4_nano.pipeline"],
                cwd=ROOT,
                env=environ,
                stdout=log,
                stderr=log,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        return code

    def get(self, path: str) -> httpx.Response | None:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False, timeout=5)
        except httpx.TransportError:
            return None

    def wait_until_ready(self, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while (answer := self.get("/health/ready")) is None or answer.status_code != 200:
            said = answer.text if answer is not None else "nothing"
            assert time.monotonic() < end, f"{said}; {self.log.read_text()[-3000:]}"
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.1)


def message(request_id: str, prompt: str = "What is Triton?", **payload: Any) -> bytes:
    return json.dumps({"request_id": request_id, "payload": {"prompt": prompt, **payload}}).encode()


async def send(bootstrap: str, values: Iterable[tuple[str | None, bytes]], **headers: str) -> None:
    """Key and value of each, acknowledged when this returns."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    told = [(name.replace("_", "-"), text.encode()) for name, text in headers.items()]
    try:
        sent = [
            await producer.send(REQUESTS, value, key=key.encode() if key else None, headers=told)
            for key, value in values
        ]
        for one in sent:
            await one
    finally:
        await producer.stop()


class Outcomes:
    """What is committed in the results and dead letters after it was made."""

    def __init__(self, reader: AIOKafkaConsumer) -> None:
        self._reader = reader
        self.results: list[Any] = []
        self.dead: list[Any] = []

    @property
    def count(self) -> int:
        return len(self.results) + len(self.dead)

    async def read(self, count: int, seconds: float = 180) -> None:
        """Returns with ``count`` outcomes at least; fails when they do not come."""
        end = time.monotonic() + seconds
        while self.count < count:
            assert time.monotonic() < end, f"{len(self.results)} results, {len(self.dead)} dead letters"
            await self._take(500)

    async def read_all(self, count: int, seconds: float = 180) -> None:
        """As ``read``; and nothing may follow."""
        await self.read(count, seconds)
        while await self._take(1000):
            pass

    async def _take(self, milliseconds: int) -> bool:
        arrived = await self._reader.getmany(timeout_ms=milliseconds)
        for partition, records in arrived.items():
            (self.results if partition.topic == RESULTS else self.dead).extend(records)
        return bool(arrived)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.results]


@contextlib.asynccontextmanager
async def outcomes_from_now(bootstrap: str, partitions: int = 4) -> AsyncIterator[Outcomes]:
    await topics.prepare(bootstrap, partitions, 1)
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed")
    await reader.start()
    try:
        reader.assign(
            [TopicPartition(topic, number) for topic in (RESULTS, DLQ) for number in range(partitions)]
        )
        await reader.seek_to_end()
        for partition in reader.assignment():
            await reader.position(partition)
        yield Outcomes(reader)
    finally:
        await reader.stop()


@contextlib.contextmanager
def consuming(bootstrap: str, triton: str, log: Path, **settings: str) -> Iterator[Consumer]:
    """A ready consumer. It leaves in order, or whoever comes next would wait for its place."""
    consumer = Consumer(bootstrap, triton, log, settings)
    consumer.start()
    try:
        consumer.wait_until_ready()
        yield consumer
    finally:
        if consumer.process is not None:
            consumer.stop()
