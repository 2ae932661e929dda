"""The HTTP side of the pipeline: sends requests to the broker, keeps the results that come back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from predictors.gpt4_nano.pipeline import messages, topics
from predictors.gpt4_nano.pipeline.settings import TopicSettings
from predictors.gpt4_nano.pipeline.store import Entry, ResultStore
from predictors.runtime.errors import InvalidValue, Unavailable
from predictors.runtime.tensors import detail

logger = logging.getLogger(__name__)

GROUP = "gpt4-nano-results"
SEND_SECONDS = 15.0
_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class Front:
    """Connects by itself and connects again; to be used on one event loop."""

    def __init__(self, bootstrap: str, store: ResultStore, settings: TopicSettings) -> None:
        self._bootstrap, self._store, self._settings = bootstrap, store, settings
        self._producer: AIOKafkaProducer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run())]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def submit(self, subject: str, request_id: str, body: dict[str, Any]) -> Entry | None:
        """None once the broker has it; else what became of the request of that id before.

        Raises Unavailable when the broker does not acknowledge it; sending it again does no harm then.
        Raises InvalidValue for one that is larger than brokers take.
        """
        value, producer = orjson.dumps(body), self._producer
        if len(value) > messages.MOST_BYTES:
            message = f"must be shorter: the message has {len(value)} bytes of {messages.MOST_BYTES} at most"
            raise InvalidValue(f"payload {message}.", details=[detail("payload", message)])
        if producer is None:
            raise Unavailable("Kafka cannot be reached; nothing was sent.", retry_after=2)
        with _store_errors():
            found = await self._store.claim(subject, request_id, 2 * SEND_SECONDS)
        if isinstance(found, Entry):
            return found
        headers = {"subject": subject, "request-id": request_id, "submission": found}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.send_and_wait(
                    messages.REQUESTS,
                    value,
                    # Requests of one id in one partition, whose worker knows what is answered.
                    key=f"{subject}:{request_id}".encode(),
                    headers=[
                        ("schema-version", messages.VERSION.encode()),
                        *((name, text.encode()) for name, text in headers.items()),
                    ],
                )
        except BaseException as error:
            with _store_errors():
                await asyncio.shield(self._store.give_up(subject, request_id))
            if isinstance(error, KafkaError | TimeoutError):
                text = "Kafka did not acknowledge the request; send it again."
                raise Unavailable(text, retry_after=2) from None
            raise
        with _store_errors():
            await self._store.sent(subject, request_id)
        return None

    async def result(self, subject: str, request_id: str) -> Entry | None:
        """None for what nobody of that subject has sent, or whose time is over."""
        with _store_errors():
            return await self._store.get(subject, request_id)

    async def _run(self) -> None:
        await self._again(self._prepare)
        await asyncio.gather(self._again(self._connect), self._again(self._keep_results))

    async def _prepare(self) -> None:
        """Before a broker makes them by itself, each with as many partitions as it likes."""
        await topics.prepare(self._bootstrap, self._settings.kafka_partitions, self._settings.kafka_replicas)

    async def _again(self, work: Any) -> None:
        pause = _PAUSE
        while True:
            began = time.monotonic()
            try:
                await work()
                return
            except asyncio.CancelledError:
                raise
            except Exception as fault:
                logger.warning("Kafka cannot be used now: %s: %s", type(fault).__name__, fault)
            if time.monotonic() - began > _LONGEST_PAUSE:
                pause = _PAUSE
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
        try:
            found = messages.told(record.topic, record.value, record.headers, record.timestamp / 1000)
        except ValueError:
            # Not from the consumer service, and never any better.
            logger.warning("%s:%d at %d is no result.", record.topic, record.partition, record.offset)
            return
        if found is not None:
            subject, request_id, body = found
            await self._store.finish(subject, request_id, body)


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """What the store raises is not the caller's to see."""
    try:
        yield
    except Exception:
        logger.exception("The store of results cannot be used.")
        raise Unavailable("The store of results cannot be reached.", retry_after=2) from None
