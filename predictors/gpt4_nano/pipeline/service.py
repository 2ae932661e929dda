"""The consumer service: joins the group, gives each partition its worker, says how it is, ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import time

import uvicorn
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from predictors.gpt4_nano.pipeline import topics
from predictors.gpt4_nano.pipeline.answering import Answerer
from predictors.gpt4_nano.pipeline.messages import REQUESTS
from predictors.gpt4_nano.pipeline.metrics import PipelineMetrics
from predictors.gpt4_nano.pipeline.monitoring import app
from predictors.gpt4_nano.pipeline.settings import PipelineSettings
from predictors.gpt4_nano.pipeline.worker import PartitionWorker
from predictors.gpt4_nano.triton import Triton

logger = logging.getLogger(__name__)

_POLL_MS = 200
_WATCH_SECONDS = 1.0
_BEAT_SECONDS = 30.0
_SILENT_SECONDS = 10.0
"""Without an answer of Kafka's, which is asked every _WATCH_SECONDS."""


class Service:
    def __init__(self, settings: PipelineSettings, metrics: PipelineMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._workers: dict[TopicPartition, PartitionWorker] = {}
        self._model: Triton | None = None
        self._answerer: Answerer | None = None
        self._model_ready = self._joined = False
        self._beat = time.monotonic()
        self._heard = -math.inf
        self._ends: dict[TopicPartition, int] = {}
        self._stopping = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        metrics.ready.set_function(lambda: self.ready)
        metrics.oldest_age.set_function(self._oldest_age)

    @property
    def alive(self) -> bool:
        """Whether the loop that reads still turns; connecting may take as long as Kafka is away."""
        return self._consumer is None or time.monotonic() - self._beat < _BEAT_SECONDS

    @property
    def ready(self) -> bool:
        return not self.reasons()

    def reasons(self) -> list[str]:
        """Why it is not ready."""
        late = [str(worker.partition.partition) for worker in self._workers.values() if not worker.working]
        found = {
            "stopping": self._stopping.is_set(),
            "Kafka does not answer": time.monotonic() - self._heard > _SILENT_SECONDS,
            "no place in the consumer group": not self._joined,
            "Triton is not ready": not self._model_ready,
            f"partitions {', '.join(late)} are beginning": bool(late),
        }
        return [reason for reason, holds in found.items() if holds]

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until stop(). Kafka and Triton may come later, and go and come back."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        self._model = Triton(self._settings.triton_url.removeprefix("http://").removeprefix("grpc://"))
        self._answerer = Answerer(self._model, self._settings, self._metrics)
        monitor = _Monitor(self, self._metrics, self._settings)
        serving = asyncio.create_task(monitor.serve())
        watches = (self._watch_model(), self._watch_kafka(), self._watch_ends())
        watching = [asyncio.create_task(watch) for watch in watches]
        try:
            if consumer := await self._connect():
                try:
                    await self._consume(consumer)
                finally:
                    await self._leave(list(self._workers))
                    await consumer.stop()
        finally:
            monitor.should_exit = True
            for task in watching:
                task.cancel()
            await asyncio.gather(serving, *watching, return_exceptions=True)
            await self._model.close()

    async def _connect(self) -> AIOKafkaConsumer | None:
        """A consumer in the group; None when told to stop before."""
        settings, pause = self._settings, self._settings.retry_base
        while not self._stopping.is_set():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=settings.kafka_bootstrap_servers,
                group_id=settings.kafka_group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=int(settings.session_timeout * 1000),
                heartbeat_interval_ms=int(settings.session_timeout * 1000 / 3),
                max_poll_records=settings.window,
                # The bytes as they are: what cannot be read is a dead letter, not the end of the loop.
            )
            try:
                await topics.prepare(
                    settings.kafka_bootstrap_servers, settings.kafka_partitions, settings.kafka_replicas
                )
                await consumer.start()
                consumer.subscribe([REQUESTS], listener=_Listener(self))
                self._beat, self._consumer = time.monotonic(), consumer
                return consumer
            except Exception as fault:
                await consumer.stop()
                logger.warning("Kafka cannot be used yet: %s: %s", type(fault).__name__, fault)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(2 * pause, settings.retry_longest)
        return None

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        while not self._stopping.is_set():
            self._beat = time.monotonic()
            try:
                arrived = await consumer.getmany(timeout_ms=_POLL_MS)
            except Exception as fault:
                logger.warning("Kafka: %s: %s", type(fault).__name__, fault)
                await asyncio.sleep(self._settings.retry_base)
                continue
            for partition, records in arrived.items():
                if worker := self._workers.get(partition):
                    worker.offer(records)

    async def join(self, partitions: set[TopicPartition]) -> None:
        assert self._consumer is not None
        assert self._answerer is not None
        for partition in partitions:
            self._consumer.pause(partition)  # until its worker knows where to begin
            worker = PartitionWorker(partition, self._consumer, self._answerer, self._settings, self._metrics)
            self._workers[partition] = worker
            gauge = self._metrics.lag.labels(str(partition.partition))
            gauge.set_function(lambda worker=worker: self._lag(worker))
        self._joined = True
        logger.info("Joined.", extra={"fields": {"partitions": sorted(p.partition for p in partitions)}})

    async def leave(self, partitions: set[TopicPartition]) -> None:
        self._joined = False
        await self._leave(list(partitions))

    async def _leave(self, partitions: list[TopicPartition]) -> None:
        leaving = [self._workers.pop(partition) for partition in partitions if partition in self._workers]
        # What is under way is finished while the group waits for us, but not beyond its patience.
        within = min(self._settings.session_timeout / 2, self._settings.grace_period / 2)
        await asyncio.gather(*(worker.stop(within) for worker in leaving))
        for worker in leaving:
            with contextlib.suppress(KeyError):
                self._metrics.lag.remove(str(worker.partition.partition))

    async def _watch_model(self) -> None:
        assert self._model is not None
        while True:
            self._model_ready = await self._model.ready()
            await asyncio.sleep(_WATCH_SECONDS)

    async def _watch_kafka(self) -> None:
        while True:
            with contextlib.suppress(Exception):
                if self._consumer is not None:
                    async with asyncio.timeout(_SILENT_SECONDS):
                        await self._consumer.topics()
                    self._heard = time.monotonic()
            await asyncio.sleep(_WATCH_SECONDS)

    async def _watch_ends(self) -> None:
        """Asked for, as a paused partition fetches nothing that would tell how far it has grown."""
        while True:
            with contextlib.suppress(Exception):
                if self._consumer is not None:
                    async with asyncio.timeout(_SILENT_SECONDS):
                        self._ends = await self._consumer.end_offsets(list(self._workers))
            await asyncio.sleep(_WATCH_SECONDS)

    def _lag(self, worker: PartitionWorker) -> float:
        end = self._ends.get(worker.partition)
        return max(0, end - worker.next_offset) if end is not None and worker.next_offset is not None else 0

    def _oldest_age(self) -> float:
        times = [worker.oldest for worker in self._workers.values() if worker.oldest is not None]
        return max(0.0, time.time() - min(times)) if times else 0.0


class _Listener(ConsumerRebalanceListener):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # type: ignore[override]
        await self._service.leave(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # type: ignore[override]
        await self._service.join(assigned)


class _Monitor(uvicorn.Server):
    def __init__(self, service: Service, metrics: PipelineMetrics, settings: PipelineSettings) -> None:
        super().__init__(
            uvicorn.Config(
                app(service, metrics),
                host=settings.host,
                port=settings.monitoring_port,
                log_config=None,
                access_log=False,
                lifespan="off",
            )
        )

    @contextlib.contextmanager
    def capture_signals(self):
        yield  # SIGTERM is the service's
