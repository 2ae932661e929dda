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


BAD = {
    "malformed_json": b'{"request_id": "x", ',
    "invalid_utf8": b'{"request_id": "\xff\xfe"}',
    "not_an_object": b"[1, 2]",
    "no_request_id": b'{"payload": {"prompt": "hello"}}',
}


async def test_what_cannot_be_answered_is_said_and_the_consumer_goes_on(
    broker: Broker, consumer: Consumer
) -> None:
    """Poison goes to the dead letters as it came; values that are not allowed get a result that says so."""
    await send(broker.bootstrap, [("k", value) for value in BAD.values()])
    await send(broker.bootstrap, [("k", message("old"))], schema_version="99")
    wrong = {
        "payload.max_tokens": message("negative", max_tokens=-1),
        "payload.temperature": b'{"request_id": "nan", "payload": {"prompt": "x", "temperature": "NaN"}}',
        "payload.prompt": b'{"request_id": "none", "payload": {}}',
        "payload.frequency_penalty": message("penalty", frequency_penalty=1.5),
        "payload.nonsense": message("unknown", nonsense=1),
        "payload": b'{"request_id": "list", "payload": []}',
    }
    await send(broker.bootstrap, [("k", value) for value in wrong.values()])
    await send(broker.bootstrap, [("k", message("big", "x" * 600_000))])
    await send(broker.bootstrap, [("k", message("good"))])
    outcomes = Outcomes(broker.bootstrap)
    await outcomes.read(len(BAD) + 1 + len(wrong) + 2)

    dead = {dict(record.headers)["dlq-reason"].decode(): record for record in outcomes.dead}
    assert set(dead) == {*BAD, "unknown_schema_version"}
    for reason, value in BAD.items():
        assert dead[reason].value == value
        assert dead[reason].key == b"k"
    headers = dict(dead["malformed_json"].headers)
    assert headers["dlq-topic"] == b"inference-requests"
    assert {"dlq-message", "dlq-partition", "dlq-offset", "dlq-attempts", "dlq-timestamp"} <= set(headers)

    *failed, good = outcomes.bodies
    assert (good["request_id"], good["success"]) == ("good", True)
    for body, field in zip(failed, [*wrong, "payload.prompt"], strict=True):
        assert body["success"] is False
        assert body["error_type"] == "validation"
        assert body["error"].startswith(f"{field} must") or body["error"].startswith(f"{field} is")


async def test_a_request_that_comes_twice_is_answered_once(
    broker: Broker, consumer: Consumer, mock_triton: Triton, tmp_path: Path
) -> None:
    """Also when another consumer has taken over in between: what is answered stands in the results."""
    await send(broker.bootstrap, [("k", message("one")), ("k", message("two")), ("k", message("one"))])
    outcomes = Outcomes(broker.bootstrap)
    await outcomes.read(2)
    assert consumer.stop() == 0
    heir = Consumer(broker.bootstrap, mock_triton.grpc, tmp_path / "heir.txt")
    heir.start()
    try:
        heir.wait_until_ready()
        await send(broker.bootstrap, [("k", message("two")), ("k", message("three"))])
        await outcomes.read(3)
    finally:
        heir.stop(signal.SIGKILL)
    assert [body["request_id"] for body in outcomes.bodies] == ["one", "two", "three"]
