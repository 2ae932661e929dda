"""The three topics: made where they are missing, and checked."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from predictors.gpt4_nano.pipeline.messages import DLQ, REQUESTS, RESULTS

logger = logging.getLogger(__name__)

_KNOWN_SECONDS, _POLL_SECONDS = 30.0, 0.1


class WrongTopics(Exception):
    """The topics cannot be used; one sentence."""


async def prepare(bootstrap: str, partitions: int, replicas: int) -> None:
    """Results and dead letters stand in the partition of their request, so they need as many partitions.

    ``partitions`` and ``replicas`` are for topics that are missing. Raises WrongTopics.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        partitions = await _partitions(admin, NewTopic(REQUESTS, partitions, replicas))
        for topic in (RESULTS, DLQ):
            found = await _partitions(admin, NewTopic(topic, partitions, replicas))
            if found < partitions:
                raise WrongTopics(
                    f"{topic} has {found} partitions and needs {partitions}, as {REQUESTS} has."
                )
    finally:
        await admin.close()


async def _partitions(admin: AIOKafkaAdminClient, topic: NewTopic) -> int:
    """How many the topic has, which is made if it is missing."""
    if topic.name not in await admin.list_topics():
        with contextlib.suppress(TopicAlreadyExistsError):  # by someone else meanwhile
            await admin.create_topics([topic])
            logger.info("Made the topic %s.", topic.name)
    async with asyncio.timeout(_KNOWN_SECONDS):
        while True:
            (described,) = await admin.describe_topics([topic.name])
            if found := len(described["partitions"]):
                return found
            await asyncio.sleep(_POLL_SECONDS)  # it is made, and not yet known to all of the broker
