"""One partition's worker: answers its messages side by side, commits their outcomes in order.

What is answered waits until everything before it is; then results, dead letters and the offset go into one
transaction. The transactional id is the partition's own, so taking a partition over ends what its former
holder still had open (it is fenced), and the committed offset read after that is final. Any error of Kafka's
ends the attempt: the worker begins anew there, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from predictors.gpt4_nano.pipeline import messages
from predictors.gpt4_nano.pipeline.answering import Answerer, Outcome
from predictors.gpt4_nano.pipeline.messages import Poison
from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics
from predictors.gpt4_nano.pipeline.seen import Seen
from predictors.gpt4_nano.pipeline.settings import PipelineSettings

logger = logging.getLogger(__name__)

_READ_SECONDS = 60.0


@dataclass
class Pending:
    record: Any
    answer: asyncio.Task[Outcome]


class PartitionWorker:
    def __init__(
        self,
        partition: TopicPartition,
        consumer: AIOKafkaConsumer,
        answerer: Answerer,
        settings: PipelineSettings,
        metrics: PipelineMetrics,
    ) -> None:
        self.partition = partition
        self.next_offset: int | None = None
        """The first offset without a committed outcome; None until it is known."""
        self.working = False
        """False while it begins, anew or for the first time."""
        self._consumer, self._answerer = consumer, answerer
        self._settings, self._metrics = settings, metrics
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._pending: deque[Pending] = deque()
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def oldest(self) -> float | None:
        """When the oldest message under way came to the broker, seconds since the epoch."""
        return self._pending[0].record.timestamp / 1000 if self._pending else None

    def offer(self, records: list[Any]) -> None:
        """Records in order; pauses the partition when enough are here."""
        for record in records:
            self._arrived.put_nowait(record)
        if self._arrived.qsize() >= self._settings.window:
            self._consumer.pause(self.partition)

    async def stop(self, within: float) -> None:
        """Finishes what is under way if it can within so many seconds, commits it, and ends."""
        self._stopping.set()
        done, _ = await asyncio.wait({self._task}, timeout=within)
        if not done:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        pause = self._settings.retry_base
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await self._attempt()
            except asyncio.CancelledError:
                raise
            except Exception as fault:
                logger.warning("%s begins anew: %s: %s", self.partition, type(fault).__name__, fault)
                self._metrics.restarts.inc()
            if time.monotonic() - began > self._settings.retry_longest:
                pause = self._settings.retry_base
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(2 * pause, self._settings.retry_longest)

    async def _attempt(self) -> None:
        """Until it is told to stop, or Kafka refuses something."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            transactional_id=f"{self._settings.kafka_group}-{self.partition.topic}-{self.partition.partition}",
            transaction_timeout_ms=60_000,
            max_request_size=8 * 1024 * 1024,
        )
        try:
            await producer.start()  # from here on a former holder of the partition can commit nothing
            seen = await self._settled()
            offset = await self._consumer.committed(self.partition)
            self.next_offset = offset
            if offset is None:
                await self._consumer.seek_to_beginning(self.partition)
                self.next_offset = await self._consumer.position(self.partition)
            else:
                self._consumer.seek(self.partition, offset)
            self._drop()
            self._consumer.resume(self.partition)
            self.working = True
            await self._work(producer, seen)
        finally:
            self.working = False
            with contextlib.suppress(Exception):
                self._consumer.pause(self.partition)
            for pending in self._pending:
                pending.answer.cancel()
            self._metrics.in_flight.dec(len(self._pending))
            self._pending.clear()
            self._drop()
            with contextlib.suppress(Exception):
                await asyncio.shield(producer.stop())

    def _drop(self) -> None:
        while not self._arrived.empty():
            self._arrived.get_nowait()

    async def _work(self, producer: AIOKafkaProducer, seen: Seen) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        arrival: asyncio.Task[Any] | None = None
        try:
            while not (self._stopping.is_set() and not self._pending):
                room = len(self._pending) < self._settings.window and not self._stopping.is_set()
                if arrival is None and room:
                    arrival = asyncio.create_task(self._arrived.get())
                waits: set[asyncio.Task[Any]] = set() if self._stopping.is_set() else {stopping}
                if arrival is not None and not self._stopping.is_set():
                    waits.add(arrival)
                if self._pending:
                    waits.add(self._pending[0].answer)
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if arrival is not None and arrival.done():
                    self._take(arrival.result(), seen)
                    arrival = None
                    while len(self._pending) < self._settings.window and not self._arrived.empty():
                        self._take(self._arrived.get_nowait(), seen)
                    if self._arrived.qsize() < self._settings.window // 2 + 1:
                        self._consumer.resume(self.partition)
                await self._commit_answered(producer)
        finally:
            stopping.cancel()
            if arrival is not None:
                arrival.cancel()

    def _take(self, record: Any, seen: Seen) -> None:
        if self.next_offset is not None and record.offset < self.next_offset:
            return  # fetched before the partition was moved back to its committed offset
        if self._pending and record.offset <= self._pending[-1].record.offset:
            return
        self._metrics.in_flight.inc()
        self._pending.append(Pending(record, asyncio.create_task(self._outcome(record, seen))))

    def _outcome(self, record: Any, seen: Seen):
        """Looked up at once, as the order in which they came decides which one is the duplicate."""
        try:
            request = messages.parse(record.value, record.headers)
        except Poison as error:
            return _settled(self._answerer.poison(record, error))
        if not seen.add(request.key):
            return _settled(Outcome(None, "duplicate"))
        return self._answerer.answer(record, request)

    async def _commit_answered(self, producer: AIOKafkaProducer) -> None:
        answered: list[tuple[Any, Outcome]] = []
        for pending in self._pending:
            if not pending.answer.done():
                break
            answered.append((pending.record, pending.answer.result()))
        if not answered:
            return
        last = answered[-1][0].offset
        async with producer.transaction():
            sent = [
                await producer.send(
                    outcome.outgoing.topic,
                    outcome.outgoing.value,
                    key=outcome.outgoing.key,
                    # The request's own, so that the results of a partition are its memory of what is done.
                    partition=self.partition.partition,
                    headers=list(outcome.outgoing.headers),
                )
                for _, outcome in answered
                if outcome.outgoing is not None
            ]
            await asyncio.gather(*sent)
            await producer.send_offsets_to_transaction(
                {self.partition: OffsetAndMetadata(last + 1, "")}, self._settings.kafka_group
            )
        now = time.time()
        for record, outcome in answered:
            self._pending.popleft()
            self._metrics.inference.labels(outcome.status).inc()
            self._metrics.response_time.observe(max(0.0, now - record.timestamp / 1000))
        self._metrics.in_flight.dec(len(answered))
        self.next_offset = last + 1

    async def _settled(self) -> Seen:
        """The requests whose outcomes stand in this partition of the results and the dead letters."""
        seen = Seen(self._settings.dedupe_window)
        if not self._settings.dedupe_window:
            return seen
        number = self.partition.partition
        sources = [TopicPartition(topic, number) for topic in (messages.DLQ, messages.RESULTS)]
        reader = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            isolation_level="read_committed",
            enable_auto_commit=False,
        )
        await reader.start()
        try:
            async with asyncio.timeout(_READ_SECONDS):
                reader.assign(sources)
                ends = await reader.end_offsets(sources)
                begins = await reader.beginning_offsets(sources)
                for source in sources:
                    reader.seek(source, max(begins[source], ends[source] - 2 * self._settings.dedupe_window))
                while any([await reader.position(source) < ends[source] for source in sources]):
                    for records in (await reader.getmany(timeout_ms=200)).values():
                        for record in records:
                            headers = dict(record.headers)
                            if "request-id" in headers:
                                subject = headers.get("subject", b"").decode()
                                seen.add((subject, headers["request-id"].decode()))
        finally:
            await reader.stop()
        return seen


async def _settled(outcome: Outcome) -> Outcome:
    return outcome
