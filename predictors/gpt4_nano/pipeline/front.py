"""The HTTP side of the pipeline: sends requests to the broker, keeps the results that come back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from predictors.gpt4_nano.pipeline import messages
from predictors.gpt4_nano.pipeline.store import Entry, ResultStore
from predictors.runtime.errors import Unavailable

logger = logging.getLogger(__name__)

GROUP = "gpt4-nano-results"
SEND_SECONDS = 15.0
_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class Front:
    """Connects by itself and connects again; to be used on one event loop."""

    def __init__(self, bootstrap: str, store: ResultStore) -> None:
        self._bootstrap, self._store = bootstrap, store
        self._producer: AIOKafkaProducer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._again(self._connect)),
            asyncio.create_task(self._again(self._keep_results)),
        ]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def submit(self, subject: str, request_id: str, body: dict[str, Any]) -> Entry | None:
        """None once the broker has it; else what became of the request of that id before.

        Raises Unavailable when the broker does not acknowledge it; sending it again does no harm then.
        """
        producer = self._producer
        if producer is None:
            raise Unavailable("Kafka cannot be reached; nothing was sent.", retry_after=2)
        found = await self._store.claim(subject, request_id, 2 * SEND_SECONDS)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.send_and_wait(
                    messages.REQUESTS,
                    orjson.dumps(body),
                    # Requests of one id in one partition, whose worker knows what is answered.
                    key=f"{subject}:{request_id}".encode(),
                    headers=[
                        ("schema-version", messages.VERSION.encode()),
                        ("subject", subject.encode()),
                        ("request-id", request_id.encode()),
                    ],
                )
        except (KafkaError, TimeoutError):
            await self._store.give_up(subject, request_id)
            raise Unavailable(
                "Kafka did not acknowledge the request; send it again.", retry_after=2
            ) from None
        except BaseException:
            await asyncio.shield(self._store.give_up(subject, request_id))
            raise
        await self._store.sent(subject, request_id)
        return None

    async def result(self, subject: str, request_id: str) -> Entry | None:
        """None for what nobody of that subject has sent, or whose time is over."""
        return await self._store.get(subject, request_id)

    async def _again(self, work: Any) -> None:
        pause = _PAUSE
        while True:
            try:
                await work()
                return
            except asyncio.CancelledError:
                raise
            except Exception as fault:
                logger.warning("Kafka cannot be used now: %s: %s", type(fault).__name__, fault)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connect(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            max_request_size=4 * 1024 * 1024,
            request_timeout_ms=int(SEND_SECONDS * 1000),
        )
        try:
            await producer.start()
            self._producer = producer
            await asyncio.Event().wait()  # until cancelled; it mends its connections itself
        finally:
            self._producer = None
            with contextlib.suppress(Exception):
                await producer.stop()

    async def _keep_results(self) -> None:
        """Offsets are committed after what they stand for is in the store: at worst it is stored twice."""
        consumer = AIOKafkaConsumer(
            messages.RESULTS,
            messages.DLQ,
            bootstrap_servers=self._bootstrap,
            group_id=GROUP,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            await consumer.start()
            while True:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        await self._keep(record)
                    await consumer.commit()
        finally:
            with contextlib.suppress(Exception):
                await consumer.stop()

    async def _keep(self, record: Any) -> None:
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        request_id = headers.get("request-id")
        if request_id is None:
            return  # poison that did not even say who it is
        if record.topic == messages.DLQ:
            kind = "timeout" if headers.get("dlq-reason") == "exhausted_timeout" else "unexpected"
            text = headers.get("dlq-message", "The request could not be answered.")
            body = messages.failure(request_id, text, kind, record.timestamp / 1000)
        else:
            body = orjson.loads(record.value)
        await self._store.finish(headers.get("subject", ""), request_id, body)
