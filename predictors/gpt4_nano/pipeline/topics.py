"""The three topics: made where they are missing, and checked."""

from __future__ import annotations

import contextlib
import logging

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from predictors.gpt4_nano.pipeline.messages import DLQ, REQUESTS, RESULTS

logger = logging.getLogger(__name__)


class WrongTopics(Exception):
    """The topics cannot be used; one sentence."""


async def prepare(bootstrap: str, partitions: int, replicas: int) -> None:
    """Results and dead letters stand in the partition of their request, so they need as many partitions.

    ``partitions`` and ``replicas`` are for topics that are missing. Raises WrongTopics.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await _create(admin, NewTopic(REQUESTS, partitions, replicas))
        partitions = (await _partitions(admin))[REQUESTS]
        for topic in (RESULTS, DLQ):
            await _create(admin, NewTopic(topic, partitions, replicas))
        found = await _partitions(admin)
        for topic in (RESULTS, DLQ):
            if found[topic] < partitions:
                raise WrongTopics(
                    f"{topic} has {found[topic]} partitions and needs {partitions}, as {REQUESTS} has."
                )
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, topic: NewTopic) -> None:
    if topic.name in await admin.list_topics():
        return
    with contextlib.suppress(TopicAlreadyExistsError):  # by someone else meanwhile
        await admin.create_topics([topic])
        logger.info("Made the topic %s.", topic.name)


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    described = await admin.describe_topics([REQUESTS, RESULTS, DLQ])
    return {entry["topic"]: len(entry["partitions"]) for entry in described}
