"""Which requests have an outcome already: the last so many of a partition, newest last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from predictors.gpt4_nano.pipeline.messages import DLQ, RESULTS, Key, key_of
from predictors.gpt4_nano.pipeline.settings import PipelineSettings

_READ_SECONDS = 60.0


class Seen:
    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: OrderedDict[Key, None] = OrderedDict()

    def add(self, key: Key) -> bool:
        """Whether it is new. Oldest ones are forgotten."""
        if not self._size:
            return True
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return True

    def __len__(self) -> int:
        return len(self._keys)


async def read_back(settings: PipelineSettings, number: int) -> Seen:
    """The requests whose outcomes stand in this partition of the results and the dead letters."""
    seen = Seen(settings.dedupe_window)
    if not settings.dedupe_window:
        return seen
    sources = [TopicPartition(topic, number) for topic in (DLQ, RESULTS)]
    reader = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
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
                # Each transaction leaves a marker, which takes an offset too.
                reader.seek(source, max(begins[source], ends[source] - 2 * settings.dedupe_window))
            while any([await reader.position(source) < ends[source] for source in sources]):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    for record in records:
                        if key := key_of(record.headers):
                            seen.add(key)
    finally:
        await reader.stop()
    return seen
