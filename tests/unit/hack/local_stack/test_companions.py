"""What runs beside gpt4_nano when Kafka is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.local_stack.companions import Companions, companions

FOLDER = Path("/stack")


@pytest.mark.parametrize(
    ("model", "environ"),
    [("gpt4_nano", {}), ("gpt4_nano", {"KAFKA": "0"}), ("gpt2", {"KAFKA": "1"})],
)
def test_without_kafka_there_is_nothing(model: str, environ: dict[str, str]) -> None:
    assert companions(model, environ, FOLDER) == Companions()


def test_kafka_is_a_broker_and_the_consumer_which_the_predictor_knows() -> None:
    found = companions("gpt4_nano", {"KAFKA": "1", "QUINTET_LOG_LEVEL": "DEBUG"}, FOLDER)
    broker, consumer = found.processes
    assert broker.arguments == ["-m", "hack.kafka", "/stack/kafka", "9092", "9093"]
    assert consumer.settings is not None
    assert consumer.settings["QUINTET_LOG_LEVEL"] == "DEBUG"
    assert consumer.settings["QUINTET_KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:9092"
    triton = consumer.settings["QUINTET_TRITON_URL"].rpartition(":")[2]
    assert found.settings["QUINTET_TRITON_GRPC_PORT"] == triton
    assert {port.number for port in found.ports} >= {9092, 9093, int(triton)}


def test_a_broker_that_runs_is_used() -> None:
    found = companions("gpt4_nano", {"KAFKA": "1", "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}, FOLDER)
    (consumer,) = found.processes
    assert consumer.settings is not None
    assert consumer.settings["QUINTET_KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert found.settings["QUINTET_KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
    assert 9092 not in {port.number for port in found.ports}
