"""The consumer with a real broker and a real Triton."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.kafka import Broker
from tests.support.pipeline import Consumer, Outcomes, message, send
from tests.support.triton import Triton

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def consumer(broker: Broker, mock_triton: Triton, tmp_path: Path) -> Iterator[Consumer]:
    one = Consumer(broker.bootstrap, mock_triton.grpc, tmp_path / "consumer.txt")
    one.start()
    try:
        one.wait_until_ready()
        yield one
    finally:
        if one.process is not None:
            one.stop(signal.SIGKILL)


async def test_a_request_becomes_a_result(broker: Broker, consumer: Consumer) -> None:
    await send(broker.bootstrap, [("a", message("one", "What is machine learning?"))])
    outcomes = Outcomes(broker.bootstrap)
    await outcomes.read(1)
    (body,) = outcomes.bodies
    assert (body["request_id"], body["success"]) == ("one", True)
    assert body["output"]["response_text"].startswith("Machine learning is")
    assert body["output"]["model"] == "gpt4_nano (mock)"
    assert set(body["output"]) == {
        "response_text",
        "tokens_used",
        "finish_reason",
        "model",
        "processing_time",
    }
    assert set(body["metadata"]) == {"triton_url", "model_name", "timestamp", "raw_triton_response"}
    assert dict(outcomes.results[0].headers)["schema-version"] == b"1"
    assert consumer.stop() == 0
