"""The consumer with a real broker and a real Triton."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from hack.kafka import Broker
from predictors.gpt4_nano.pipeline.messages import DLQ, REQUESTS, RESULTS
from tests.support import triton
from tests.support.pipeline import Consumer, consuming, message, outcomes_from_now, send
from tests.support.redis import redis_server
from tests.support.servers import Server, running
from tests.support.triton import REPOSITORY, Triton

pytestmark = pytest.mark.timeout(600)

STARTING = 240
"""Seconds until the HTTP side is ready, on a machine that is busy with other things."""

T = TypeVar("T")


async def until(check: Callable[[], Awaitable[T | None]], seconds: float = 300) -> T:
    """What ``check`` gives, once it gives something: the state of another process."""
    async with asyncio.timeout(seconds):
        while True:
            if (value := await check()) is not None:
                return value
            await asyncio.sleep(0.1)


async def until_said(consumer: Consumer, reason: str) -> None:
    async def check() -> bool | None:
        answer = await asyncio.to_thread(consumer.get, "/health/ready")
        return True if answer is not None and reason in answer.json()["reasons"] else None

    await until(check)


def metric(consumer: Consumer, name: str) -> float:
    """0 where there is none of that name and labels yet."""
    answer = consumer.get("/metrics")
    lines = answer.text.splitlines() if answer is not None else []
    return next((float(line.split()[-1]) for line in lines if line.split()[0] == name), 0.0)


async def until_metric(consumer: Consumer, name: str, least: float) -> None:
    async def check() -> bool | None:
        return True if await asyncio.to_thread(metric, consumer, name) >= least else None

    await until(check)


async def until_lag(consumer: Consumer, expected: int) -> None:
    """Of all partitions together. A little old at most, as Kafka is asked for it now and then."""

    def lag() -> float:
        answer = consumer.get("/metrics")
        lines = answer.text.splitlines() if answer is not None else []
        return sum(float(line.split()[-1]) for line in lines if line.startswith("consumer_lag{"))

    async def check() -> bool | None:
        return True if await asyncio.to_thread(lag) == expected else None

    await until(check, seconds=60)


async def test_a_request_that_comes_twice_is_answered_once(
    broker: Broker, mock_triton: Triton, tmp_path: Path
) -> None:
    """Also when another consumer has taken over in between: what is answered stands in the results.

    This test and the next come before the module's own consumer: they have the group for themselves.
    """
    async with outcomes_from_now(broker.bootstrap) as outcomes:
        first, second, third = (f"twice-{number}" for number in range(3))
        with consuming(broker.bootstrap, mock_triton.grpc, tmp_path / "one.txt"):
            await send(
                broker.bootstrap, [("k", message(first)), ("k", message(second)), ("k", message(first))]
            )
            await outcomes.read(2)
        with consuming(broker.bootstrap, mock_triton.grpc, tmp_path / "heir.txt"):
            await send(broker.bootstrap, [("k", message(second)), ("k", message(third))])
            await outcomes.read_all(3)
    assert [body["request_id"] for body in outcomes.bodies] == [first, second, third]


async def test_a_model_that_is_away_is_waited_for_and_one_that_fails_is_not(
    broker: Broker, tmp_path: Path
) -> None:
    """No Triton: nothing is settled however long. One too slow: a dead letter after its tries."""
    server = Triton(tmp_path / "triton.txt")
    settings = {"retry_base": "0.05", "retry_longest": "0.2", "max_attempts": "3", "call_timeout": "1"}
    settings |= {"window": "8"}
    consumer = Consumer(broker.bootstrap, server.grpc, tmp_path / "consumer.txt", settings)
    consumer.start()
    try:
        await until_said(consumer, "Triton is not ready")
        async with outcomes_from_now(broker.bootstrap) as outcomes:
            names = [f"away-{number}" for number in range(30)]
            await send(broker.bootstrap, [("k", message(name)) for name in names])
            await until_metric(consumer, 'consumer_retries_total{reason="unavailable"}', 30)
            assert outcomes.count == 0
            assert metric(consumer, "consumer_in_flight") == 8, "the window; then the partition is paused"
            assert metric(consumer, "consumer_oldest_age_seconds") > 0
            await until_lag(consumer, len(names))
            # What comes while the partition is paused is waiting as well.
            more = [f"more-{number}" for number in range(50)]
            await send(broker.bootstrap, [("k", message(name)) for name in more])
            names += more
            await until_lag(consumer, len(names))

            await asyncio.to_thread(server.start)
            await outcomes.read(len(names))
            assert [body["request_id"] for body in outcomes.bodies] == names
            await until_lag(consumer, 0)

            server.stop(kill=True)
            server.environment = {"QUINTET_MOCK_BATCH_SECONDS": "10"}
            await asyncio.to_thread(server.start)
            await send(broker.bootstrap, [("k", message("late"))])
            await outcomes.read(len(names) + 1)
        (letter,) = outcomes.dead
        headers = dict(letter.headers)
        assert headers["dlq-reason"] == b"exhausted_timeout"
        assert headers["dlq-attempts"] == b"3"
        assert headers["request-id"] == b"late"
    finally:
        consumer.stop()
        server.stop(kill=True)


async def test_no_more_calls_than_allowed_are_under_way_over_all_partitions(
    broker: Broker, tmp_path: Path
) -> None:
    """One instance of the model, which takes what waits as one batch: its batches show what was under way."""
    repository, most = tmp_path / "models", 3
    shutil.copytree(REPOSITORY, repository)
    config = repository / "gpt4_nano" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 2", "count: 1"))
    settings = {"max_in_flight": str(most), "window": "16"}
    with (
        triton.running(tmp_path / "triton.txt", repository, QUINTET_MOCK_BATCH_SECONDS="0.1") as server,
        consuming(broker.bootstrap, server.grpc, tmp_path / "consumer.txt", **settings),
    ):
        async with outcomes_from_now(broker.bootstrap) as outcomes:
            names = [f"allowed-{number}" for number in range(48)]
            await send(broker.bootstrap, [(name, message(name)) for name in names])
            await outcomes.read_all(len(names))
        sizes = server.batch_sizes()
    assert len({record.partition for record in outcomes.results}) > 1
    assert sum(size * count for size, count in sizes.items()) >= len(names)
    assert max(sizes) <= most
    assert sizes[most - 1] + sizes[most] > 0, "the room was used"


@pytest.fixture(scope="module")
def consumer(
    broker: Broker, mock_triton: Triton, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Consumer]:
    log = tmp_path_factory.mktemp("consumer") / "log.txt"
    with consuming(broker.bootstrap, mock_triton.grpc, log) as one:
        yield one


async def test_a_request_becomes_a_result(broker: Broker, consumer: Consumer) -> None:
    async with outcomes_from_now(broker.bootstrap) as outcomes:
        await send(broker.bootstrap, [("a", message("first", "What is machine learning?"))])
        await outcomes.read(1)
    (body,) = outcomes.bodies
    assert (body["request_id"], body["success"]) == ("first", True)
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


POISON = {
    "malformed_json": b'{"request_id": "x", ',
    "invalid_utf8": b'{"request_id": "\xff\xfe"}',
    "not_an_object": b"[1, 2]",
    "no_request_id": b'{"payload": {"prompt": "hello"}}',
}
NOT_ALLOWED = {
    "payload.max_tokens": message("negative", max_tokens=-1),
    "payload.temperature": b'{"request_id": "nan", "payload": {"prompt": "x", "temperature": "NaN"}}',
    "payload.prompt": b'{"request_id": "none", "payload": {}}',
    "payload.frequency_penalty": message("penalty", frequency_penalty=1.5),
    "payload.nonsense": message("unknown", nonsense=1),
    "payload": b'{"request_id": "list", "payload": []}',
}


async def test_what_cannot_be_answered_is_said_and_the_consumer_goes_on(
    broker: Broker, consumer: Consumer
) -> None:
    """Poison goes to the dead letters as it came; values that are not allowed get a result that says so."""
    async with outcomes_from_now(broker.bootstrap) as outcomes:
        await send(broker.bootstrap, [("k", value) for value in POISON.values()])
        await send(broker.bootstrap, [("k", message("old"))], schema_version="99")
        await send(broker.bootstrap, [("k", value) for value in NOT_ALLOWED.values()])
        await send(broker.bootstrap, [("k", message("big", "x" * 600_000))])
        await send(broker.bootstrap, [("k", message("good"))])
        await outcomes.read_all(len(POISON) + 1 + len(NOT_ALLOWED) + 2)
    assert metric(consumer, 'consumer_dlq_total{reason="malformed_json"}') == 1
    assert metric(consumer, 'consumer_inference_total{status="dlq"}') == len(POISON) + 1
    assert metric(consumer, 'consumer_errors_total{error_type="validation"}') == len(NOT_ALLOWED) + 1

    dead = {dict(record.headers)["dlq-reason"].decode(): record for record in outcomes.dead}
    assert set(dead) == {*POISON, "unknown_schema_version"}
    for reason, value in POISON.items():
        assert dead[reason].value == value
        assert dead[reason].key == b"k"
    headers = dict(dead["malformed_json"].headers)
    assert headers["dlq-topic"] == b"inference-requests"
    assert {"dlq-message", "dlq-partition", "dlq-offset", "dlq-attempts", "dlq-timestamp"} <= set(headers)

    *failed, good = outcomes.bodies
    assert (good["request_id"], good["success"]) == ("good", True)
    for body, field in zip(failed, [*NOT_ALLOWED, "payload.prompt"], strict=True):
        assert body["success"] is False
        assert body["error_type"] == "validation"
        assert body["error"].startswith(f"{field} must") or body["error"].startswith(f"{field} is")


async def test_poison_that_fills_all_the_broker_takes_is_told_in_short(
    broker: Broker, consumer: Consumer
) -> None:
    """With the headers of a dead letter it would be too large; it stands where it came from."""
    poison = b"{" + b"x" * 1_048_480
    async with outcomes_from_now(broker.bootstrap) as outcomes:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, max_request_size=2_000_000)
        await producer.start()
        try:
            await producer.send_and_wait(REQUESTS, message("before"), key=b"k")
            sent = await producer.send_and_wait(REQUESTS, poison, key=b"k")
            await producer.send_and_wait(REQUESTS, message("after"), key=b"k")
        finally:
            await producer.stop()
        await outcomes.read_all(3)
    assert [body["request_id"] for body in outcomes.bodies] == ["before", "after"]
    (letter,) = outcomes.dead
    headers = dict(letter.headers)
    assert (letter.value, headers["dlq-reason"]) == (b"", b"malformed_json")
    assert headers["dlq-omitted-bytes"] == str(len(poison)).encode()
    assert (headers["dlq-partition"], headers["dlq-offset"]) == (
        str(sent.partition).encode(),
        str(sent.offset).encode(),
    )


class Front:
    """The HTTP side, asked by two callers."""

    def __init__(self, client: httpx.AsyncClient, subject: str) -> None:
        self._client, self._headers = client, {"x-quintet-subject": subject}

    async def post(self, body: dict) -> httpx.Response:
        return await self._client.post("/infer", json=body, headers=self._headers)

    async def accepted(self, body: dict) -> httpx.Response:
        """The first answer that is not 503: it connects to the broker by itself."""

        async def check() -> httpx.Response | None:
            answer = await self.post(body)
            return answer if answer.status_code != 503 else None

        return await until(check)

    async def get(self, request_id: str) -> httpx.Response:
        return await self._client.get(f"/result/{request_id}", headers=self._headers)

    async def result(self, request_id: str) -> dict:
        """Once it is there."""

        async def check() -> dict | None:
            answer = await self.get(request_id)
            return answer.json() if answer.status_code == 200 else None

        return await until(check)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results") / "results.sqlite"


@pytest.fixture(scope="module")
def front(broker: Broker, mock_triton: Triton, results: Path) -> Iterator[Server]:
    settings = {
        "QUINTET_TRITON_URL": mock_triton.grpc,
        "QUINTET_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        "QUINTET_RESULTS_STORE": str(results),
    }
    with running("predictors.gpt4_nano", settings, seconds=STARTING) as server:
        yield server


def request(request_id: str, prompt: str = "What is Triton?") -> dict:
    return {"request_id": request_id, "payload": {"prompt": prompt, "temperature": 0.5}}


async def test_while_the_store_of_results_is_away_callers_are_told_to_come_back(
    broker: Broker, consumer: Consumer, mock_triton: Triton, tmp_path: Path
) -> None:
    """And what is answered meanwhile is kept once it is back.

    Before the module's own HTTP side comes: the two would share the results, and have not one store.
    """
    with redis_server(tmp_path / "redis") as redis:
        settings = {
            "QUINTET_TRITON_URL": mock_triton.grpc,
            "QUINTET_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "QUINTET_RESULTS_STORE": redis.url,
        }
        with running("predictors.gpt4_nano", settings, seconds=STARTING) as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
                ann, kept, meanwhile = Front(client, "ann"), uuid.uuid4().hex, uuid.uuid4().hex
                assert (await ann.accepted(request(kept))).status_code == 202
                done = await ann.result(kept)

                redis.kill()
                for answer in (await ann.post(request("late")), await ann.get(kept)):
                    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                    assert int(answer.headers["retry-after"]) >= 1
                    assert str(redis.port) not in answer.text
                async with outcomes_from_now(broker.bootstrap) as outcomes:
                    told = {"subject": "ann", "request_id": meanwhile}
                    await send(broker.bootstrap, [("k", message(meanwhile))], **told)
                    await outcomes.read(1)

                redis.start()
                assert (await ann.result(meanwhile))["success"] is True
                assert (await ann.get(kept)).json() == done
                assert (await ann.post(request("late"))).status_code == 202
                assert (await ann.result("late"))["success"] is True


async def test_infer_and_result_over_http(consumer: Consumer, front: Server, results: Path) -> None:
    """202 once the broker has it, 409 when it is sent again, the result as often as it is asked for."""
    name = uuid.uuid4().hex
    async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
        ann, bob = Front(client, "ann"), Front(client, "bob")
        assert (await ann.get(name)).status_code == 404
        accepted = await ann.accepted(request(name))
        assert (accepted.status_code, accepted.json()) == (202, {"request_id": name, "status": "pending"})
        again = await ann.post(request(name))
        assert again.status_code == 409
        assert (again.json()["code"], again.json()["request_id"]) == ("conflict", name)
        assert again.json()["status"] in {"pending", "done"}

        done = await ann.result(name)
        assert (done["request_id"], done["status"], done["success"]) == (name, "done", True)
        assert done["output"]["response_text"].startswith("Triton Inference Server is")
        assert (await ann.get(name)).json() == done
        assert (await ann.post(request(name))).json()["status"] == "done"

        # Another caller's request of that id is another request.
        assert (await bob.get(name)).status_code == 404
        assert (await bob.post(request(name))).status_code == 202
        assert (await bob.result(name))["success"] is True

        # When its time is over the id is free, and is answered again.
        with contextlib.closing(sqlite3.connect(results)) as store, store:
            store.execute("UPDATE requests SET expires = 0")
        assert (await ann.get(name)).status_code == 404
        assert (await ann.post(request(name))).status_code == 202
        assert (await ann.result(name))["success"] is True

    await until_metric(consumer, 'consumer_inference_total{status="success"}', 3)
    assert metric(consumer, 'consumer_tokens_used_bucket{le="64.0"}') >= 3
    assert metric(consumer, "consumer_ready") == 1


async def test_a_request_that_is_not_answered_yet_is_pending(consumer: Consumer, front: Server) -> None:
    assert consumer.process is not None
    async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
        ann, name = Front(client, "ann"), uuid.uuid4().hex
        consumer.process.send_signal(signal.SIGSTOP)
        try:
            assert (await ann.accepted(request(name))).status_code == 202
            for _ in range(2):
                pending = await ann.get(name)
                assert (pending.status_code, pending.json()["status"]) == (202, "pending")
            again = await ann.post(request(name))
            assert (again.status_code, again.json()["status"]) == (409, "pending")
        finally:
            consumer.process.send_signal(signal.SIGCONT)
        assert (await ann.result(name))["success"] is True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"payload": {"prompt": "x"}}, "request_id"),
        ({"request_id": "", "payload": {"prompt": "x"}}, "request_id"),
        ({"request_id": "r", "payload": {}}, "payload.prompt"),
        ({"request_id": "r", "payload": {"prompt": "x", "max_tokens": -1}}, "payload.max_tokens"),
        ({"request_id": "r", "payload": {"prompt": "\x01" * 200_000}}, "payload"),
    ],
)
async def test_bad_requests_are_refused_before_they_are_sent(front: Server, body: dict, field: str) -> None:
    async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
        answer = await client.post("/infer", json=body)
        assert answer.status_code == 422, answer.text
        assert [entry["field"] for entry in answer.json()["details"]] == [field]
        assert (await client.get("/result/r")).status_code == 404


async def test_what_others_write_beside_the_results_does_not_stop_them(
    broker: Broker, consumer: Consumer, front: Server
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    try:
        for topic in (RESULTS, DLQ):
            for value in (b"\xff", b"[]", b"{"):
                await producer.send_and_wait(topic, value, headers=[("request-id", b"a")], partition=0)
                await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()
    async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
        ann, name = Front(client, "ann"), uuid.uuid4().hex
        assert (await ann.accepted(request(name))).status_code == 202
        assert (await ann.result(name))["success"] is True


async def test_while_the_broker_is_away_nothing_is_accepted_and_afterwards_all_goes_on(
    broker: Broker, consumer: Consumer, front: Server
) -> None:
    async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
        ann = Front(client, "ann")
        kept, late = uuid.uuid4().hex, uuid.uuid4().hex
        await ann.accepted(request(kept))
        done = await ann.result(kept)
        broker.stop(kill=True)
        try:
            answer, again = await asyncio.gather(ann.post(request(late)), ann.get(kept))
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert again.json() == done
            await until_said(consumer, "Kafka does not answer")
        finally:
            await asyncio.to_thread(broker.start)
        assert (await ann.accepted(request(late))).status_code in {202, 409}
        assert (await ann.result(late))["success"] is True
        await asyncio.to_thread(consumer.wait_until_ready)
