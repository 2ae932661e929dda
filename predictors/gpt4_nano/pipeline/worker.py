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
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from predictors.gpt4_nano.pipeline import messages
from predictors.gpt4_nano.pipeline.answering import Answerer, Outcome
from predictors.gpt4_nano.pipeline.messages import Poison
from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics
from predictors.gpt4_nano.pipeline.seen import Seen, read_back
from predictors.gpt4_nano.pipeline.settings import PipelineSettings

logger = logging.getLogger(__name__)


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
        self._alone_until = self._too_large = -1
        """Offsets: outcomes up to the first are sent each by itself, that of the second in short."""
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
            seen = await read_back(self._settings, self.partition.partition)
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
        if answered[0][0].offset <= self._alone_until:
            answered = answered[:1]
        last = answered[-1][0].offset
        try:
            await self._commit(producer, answered, last + 1)
        except MessageSizeTooLargeError:
            if len(answered) == 1:
                self._too_large = last
            # Which one it is shows when each is sent by itself.
            self._alone_until = max(last, self._alone_until)
            raise
        now = time.time()
        for record, outcome in answered:
            self._pending.popleft()
            self._metrics.inference.labels(outcome.status).inc()
            self._metrics.response_time.observe(max(0.0, now - record.timestamp / 1000))
        self._metrics.in_flight.dec(len(answered))
        self.next_offset = last + 1

    async def _commit(
        self, producer: AIOKafkaProducer, answered: list[tuple[Any, Outcome]], offset: int
    ) -> None:
        """All of it or nothing."""
        async with producer.transaction():
            sent: list[Any] = []
            for record, outcome in answered:
                if (outgoing := outcome.outgoing) is None:
                    continue
                if record.offset == self._too_large:
                    outgoing = messages.shortened(outgoing, time.time())
                sent.append(
                    await producer.send(
                        outgoing.topic,
                        outgoing.value,
                        key=outgoing.key,
                        # The request's own: the results of a partition are its memory of what is done.
                        partition=self.partition.partition,
                        headers=list(outgoing.headers),
                    )
                )
            await asyncio.gather(*sent)
            await producer.send_offsets_to_transaction(
                {self.partition: OffsetAndMetadata(offset, "")}, self._settings.kafka_group
            )


async def _settled(outcome: Outcome) -> Outcome:
    return outcome
