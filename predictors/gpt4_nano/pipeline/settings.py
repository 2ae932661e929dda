"""The settings of the pipeline; the original's names are understood as well."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from predictors.runtime.settings import RuntimeSettings


class TopicSettings(RuntimeSettings):
    """For topics that are missing: the consumer service or the HTTP side makes them, whoever comes first."""

    kafka_partitions: int = Field(4, ge=1)
    """Partitions of the request topic, where it is missing and is made."""
    kafka_replicas: int = Field(1, ge=1)
    """Copies of each partition, where topics are made; 3 where there are three brokers."""


class PipelineSettings(TopicSettings):
    kafka_bootstrap_servers: str = Field(
        default="localhost:9092",
        validation_alias=AliasChoices(
            "QUINTET_KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP"
        ),
    )
    """Where the brokers are, comma-separated (``KAFKA_BOOTSTRAP``)."""
    triton_url: str = Field(
        default="localhost:8001", validation_alias=AliasChoices("QUINTET_TRITON_URL", "TRITON_URL")
    )
    """gRPC address of Triton (``TRITON_URL``)."""
    kafka_group: str = "gpt4-nano-triton-consumer-group"
    """Consumer group; also the beginning of the transactional ids."""
    window: int = Field(32, ge=1)
    """Most messages of one partition under way at a time."""
    max_in_flight: int = Field(64, ge=1)
    """Most calls of the model at a time, over all partitions."""
    max_attempts: int = Field(5, ge=1)
    """Times a message is tried when the model fails on it; then it is a dead letter. A model that cannot be
    reached is waited for, however long, as that is no message's fault."""
    retry_base: float = Field(0.2, gt=0)
    """Seconds before the first retry; doubled each time."""
    retry_longest: float = Field(10.0, gt=0)
    """Longest pause between two tries."""
    call_timeout: float = Field(30.0, gt=0)
    """Seconds for one call of the model."""
    dedupe_window: int = Field(10_000, ge=0)
    """Request ids remembered for each partition; a request whose id is among them is dropped."""
    session_timeout: float = Field(30.0, ge=1)
    """Seconds after which a silent consumer's partitions are given to others."""
    monitoring_port: int = Field(8008, ge=1, le=65535)
    """Port of /metrics, /health/live and /health/ready."""
