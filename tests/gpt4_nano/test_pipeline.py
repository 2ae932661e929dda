"""The consumer with a real broker and a real Triton."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from hack.kafka import Broker
from tests.support.pipeline import Consumer, Outcomes, message, send
from tests.support.servers import Server, running
from tests.support.triton import Triton

pytestmark = pytest.mark.timeout(600)

T = TypeVar("T")


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


@pytest.fixture
def front(broker: Broker, mock_triton: Triton, tmp_path: Path) -> Iterator[Server]:
    settings = {
        "QUINTET_TRITON_URL": mock_triton.grpc,
        "QUINTET_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        "QUINTET_RESULTS_STORE": str(tmp_path / "results.sqlite"),
    }
    with running("predictors.gpt4_nano", settings) as server:
        yield server


async def until(check: Callable[[], Awaitable[T | None]], seconds: float = 180) -> T:
    """What ``check`` gives, once it gives something: the state of another process."""
    async with asyncio.timeout(seconds):
        while True:
            if (value := await check()) is not None:
                return value
            await asyncio.sleep(0.1)


async def got(client: httpx.AsyncClient, request_id: str, headers: dict[str, str]) -> httpx.Response:
    async def check() -> httpx.Response | None:
        answer = await client.get(f"/result/{request_id}", headers=headers)
        return answer if answer.status_code == 200 else None

    return await until(check)


async def posted(client: httpx.AsyncClient, body: dict, headers: dict[str, str]) -> httpx.Response:
    """The first answer that is not 503: the producer connects by itself."""

    async def check() -> httpx.Response | None:
        answer = await client.post("/infer", json=body, headers=headers)
        return answer if answer.status_code != 503 else None

    return await until(check)


async def test_infer_and_result_over_http(broker: Broker, consumer: Consumer, front: Server) -> None:
    """202 once the broker has it, 409 when it is sent again, the result as often as it is asked for."""
    ann, bob = {"x-quintet-subject": "ann"}, {"x-quintet-subject": "bob"}
    body = {"request_id": "r1", "payload": {"prompt": "What is Triton?", "temperature": 0.5}}
    async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
        assert (await client.get("/result/r1", headers=ann)).status_code == 404
        accepted = await posted(client, body, ann)
        assert (accepted.status_code, accepted.json()) == (202, {"request_id": "r1", "status": "pending"})
        again = await client.post("/infer", json=body, headers=ann)
        assert again.status_code == 409
        assert again.json()["code"] == "conflict"
        assert again.json()["request_id"] == "r1"
        assert again.json()["status"] in {"pending", "done"}

        done = (await got(client, "r1", ann)).json()
        assert (done["request_id"], done["status"], done["success"]) == ("r1", "done", True)
        assert done["output"]["response_text"].startswith("Triton Inference Server is")
        assert (await client.get("/result/r1", headers=ann)).json() == done
        assert (await client.post("/infer", json=body, headers=ann)).json()["status"] == "done"

        # Another caller's request of that id is another request.
        assert (await client.get("/result/r1", headers=bob)).status_code == 404
        assert (await client.post("/infer", json=body, headers=bob)).status_code == 202
        assert (await got(client, "r1", bob)).json()["success"] is True

        for wrong, field in [
            ({"payload": {"prompt": "x"}}, "request_id"),
            ({"request_id": "r2", "payload": {}}, "payload.prompt"),
            ({"request_id": "r2", "payload": {"prompt": "x", "max_tokens": -1}}, "payload.max_tokens"),
            ({"request_id": "", "payload": {"prompt": "x"}}, "request_id"),
        ]:
            answer = await client.post("/infer", json=wrong, headers=ann)
            assert answer.status_code == 422, answer.text
            assert [entry["field"] for entry in answer.json()["details"]] == [field]

        metrics = consumer.get("/metrics")
        assert metrics is not None
        assert 'consumer_inference_total{status="success"} 2.0' in metrics.text
        assert 'consumer_lag{partition="0"} ' in metrics.text
        assert 'consumer_tokens_used_bucket{le="32768.0"} 2.0' in metrics.text

        # Without a broker nothing is accepted, what is kept can still be read, and it can be sent later.
        broker.stop(kill=True)
        late = {"request_id": "r3", "payload": {"prompt": "x"}}
        answer = await client.post("/infer", json=late, headers=ann)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await client.get("/result/r1", headers=ann)).json() == done
        await asyncio.to_thread(broker.start)
        assert (await posted(client, late, ann)).status_code in {202, 409}
        assert (await got(client, "r3", ann)).json()["success"] is True


async def test_a_model_that_is_away_is_waited_for_and_one_that_fails_is_not(
    broker: Broker, tmp_path: Path
) -> None:
    """No Triton: nothing is settled however long. One too slow: a dead letter after its tries."""
    server = Triton(tmp_path / "triton.txt")
    settings = {"retry_base": "0.05", "retry_longest": "0.2", "max_attempts": "3", "call_timeout": "0.3"}
    consumer = Consumer(broker.bootstrap, server.grpc, tmp_path / "consumer.txt", settings)
    consumer.start()
    try:
        await until_said(consumer, "Triton is not ready")
        await send(broker.bootstrap, [("k", message("one")), ("k", message("two"))])
        await until_metric(consumer, 'consumer_retries_total{reason="unavailable"}', 20)
        server.start()
        consumer.wait_until_ready()
        outcomes = Outcomes(broker.bootstrap)
        await outcomes.read(2)
        assert [body["request_id"] for body in outcomes.bodies] == ["one", "two"]

        server.stop()
        server.environment = {"QUINTET_MOCK_BATCH_SECONDS": "3"}
        server.start()
        await send(broker.bootstrap, [("k", message("late"))])
        await outcomes.read(3)
        (letter,) = outcomes.dead
        headers = dict(letter.headers)
        assert headers["dlq-reason"] == b"exhausted_timeout"
        assert headers["dlq-attempts"] == b"3"
        assert headers["request-id"] == b"late"
    finally:
        consumer.stop(signal.SIGKILL)
        server.stop()


async def until_said(consumer: Consumer, reason: str) -> None:
    async def check() -> bool | None:
        answer = consumer.get("/health/ready")
        return True if answer is not None and answer.json()["reasons"] == [reason] else None

    await until(check)


async def until_metric(consumer: Consumer, name: str, least: float) -> None:
    async def check() -> bool | None:
        answer = consumer.get("/metrics")
        lines = answer.text.splitlines() if answer is not None else []
        reached = any(line.startswith(name) and float(line.split()[-1]) >= least for line in lines)
        return True if reached else None

    await until(check)
