"""The transformer in front of a real Triton."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import openai_stub, triton
from tests.support.servers import Server, running
from tests.support.triton import REPOSITORY, Triton

pytestmark = pytest.mark.timeout(600)

INFER, GENERATE = "/v2/models/gpt4_nano/infer", "/v2/models/gpt4_nano/generate"
NOT_LOADED = 3
STARTING = 240
"""Seconds until it is ready, on a machine that is busy with other things."""
CURL = {
    "inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["What is machine learning?"]}]
}
"""The published one."""


@pytest.fixture(scope="module")
def transformer(mock_triton: Triton) -> Iterator[Server]:
    with running(
        "predictors.gpt4_nano", {"QUINTET_TRITON_URL": mock_triton.grpc}, seconds=STARTING
    ) as server:
        yield server


@pytest.fixture(scope="module")
def http(transformer: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=transformer.url, timeout=60, trust_env=False) as client:
        yield client


def test_the_published_curl(http: httpx.Client) -> None:
    answer = http.post(INFER, json=CURL)
    assert answer.status_code == 200, answer.text
    outputs = {output["name"]: output for output in answer.json()["outputs"]}
    assert outputs["response"]["shape"] == [1, 1]
    assert outputs["response"]["data"][0].startswith("Machine learning is")
    assert outputs["tokens_used"] == {
        "name": "tokens_used",
        "datatype": "INT32",
        "shape": [1, 1],
        "data": [52],
    }
    assert "mock" in outputs["model"]["data"][0]


def test_v1(http: httpx.Client) -> None:
    instances = [{"prompt": "python"}, {"prompt": "triton", "max_tokens": 3, "stop": ["zz", "yy"]}]
    answer = http.post("/v1/models/gpt4_nano:predict", json={"instances": instances})
    first, second = answer.json()["predictions"]
    assert first["response"].startswith("Python is")
    assert (second["tokens_used"], second["finish_reason"]) == (3, "length")


def test_more_rows_than_triton_takes_in_one_request(http: httpx.Client) -> None:
    prompts = [f"Row {number}" for number in range(40)]
    inputs = [{"name": "prompt", "datatype": "BYTES", "shape": [40, 1], "data": prompts}]
    outputs = http.post(INFER, json={"inputs": inputs}).json()["outputs"]
    assert outputs[0]["shape"] == [40, 1]
    assert all(f"'{p}...'" in text for p, text in zip(prompts, outputs[0]["data"], strict=True))


def test_generate_and_its_stream(http: httpx.Client) -> None:
    whole = http.post("/v2/models/gpt4_nano/generate", json={"prompt": "triton"}).json()
    streamed = http.post("/v2/models/gpt4_nano/generate_stream", json={"prompt": "triton"})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert "".join(event["response"] for event in events) == whole["response"]
    assert {**events[-1], "response": ""} == {**whole, "response": ""}
    assert len(events) > 5


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        (INFER, {"inputs": []}, 400, "inputs"),
        (INFER, {"inputs": [{**CURL["inputs"][0], "shape": [2]}]}, 400, "inputs[0].data"),
        (INFER, {"inputs": [{**CURL["inputs"][0], "shape": [1, 1, 1]}]}, 400, "inputs[0].shape"),
        ("/v1/models/gpt4_nano:predict", {"instances": [{"max_tokens": 5}]}, 422, "instances[0].prompt"),
        (
            "/v1/models/gpt4_nano:predict",
            {"instances": [{"prompt": "x"}, {"prompt": "x", "max_tokens": -1}]},
            422,
            "instances[1].max_tokens",
        ),
        (
            "/v1/models/gpt4_nano:predict",
            {"instances": [{"prompt": "x" * (1 << 20)}]},
            422,
            "instances[0].prompt",
        ),
        ("/v1/models/gpt4_nano:predict", {"instances": [{"prompt": "x", "k": 1}]}, 422, "instances[0].k"),
        ("/v2/models/gpt4_nano/generate", {"prompt": "x", "temperature": 9}, 422, "temperature"),
        ("/v2/models/gpt4_nano/generate", {}, 422, "prompt"),
    ],
)
def test_bad_input_is_named(http: httpx.Client, path: str, body: dict, status: int, field: str) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert [entry["field"] for entry in answer.json()["details"]] == [field]


@pytest.mark.parametrize("body", [b'{"inputs": [{"temperature": NaN}]}', b"\xff\xfe", b"{"])
def test_what_is_no_json_is_malformed(http: httpx.Client, body: bytes) -> None:
    answer = http.post(INFER, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/gpt4_nano/load",
        "/v2/repository/models/gpt4_nano/unload",
        "/v2/models/gpt4_nano_stream/infer",
    ],
)
def test_the_repository_cannot_be_reached(http: httpx.Client, path: str) -> None:
    assert http.post(path, json={}).status_code == 404
    assert http.post(INFER, json=CURL).status_code == 200


def test_infer_without_kafka_says_so(http: httpx.Client) -> None:
    answer = http.post("/infer", json={"request_id": "a", "payload": {"prompt": "x"}})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "KAFKA" in answer.json()["error"]


def test_it_is_ready_only_while_triton_is(tmp_path: Path) -> None:
    server = Triton(tmp_path / "triton.txt")
    try:
        with running("predictors.gpt4_nano", {"QUINTET_TRITON_URL": server.grpc}, ready=False) as front:
            front.wait_until_listening(STARTING)
            assert httpx.get(f"{front.url}/v2/health/live").status_code == 200
            assert httpx.get(f"{front.url}/v2/health/ready").status_code == 503
            server.start()
            front.wait_until_ready(STARTING)
            assert httpx.post(f"{front.url}{INFER}", json=CURL, timeout=60).status_code == 200
            server.stop(kill=True)
            front.wait_for("Triton is not ready.", STARTING)
            assert httpx.get(f"{front.url}/v2/models/gpt4_nano/ready").status_code == 503
            answer = httpx.post(f"{front.url}{INFER}", json=CURL, timeout=60)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["retry-after"]
            server.start()
            front.wait_for("Triton is ready.", STARTING)
            assert httpx.post(f"{front.url}{INFER}", json=CURL, timeout=60).status_code == 200
    finally:
        server.stop()


async def test_triton_s_full_queue_is_429_with_retry_after(tmp_path: Path) -> None:
    """Two places in the queue, slow batches of one: most are told to come back, the rest answered."""
    repository = tmp_path / "models"
    shutil.copytree(REPOSITORY, repository)
    for file in repository.glob("*/config.pbtxt"):
        text = file.read_text().replace("max_queue_size: 256", "max_queue_size: 2")
        text = text.replace("max_batch_size: 8", "max_batch_size: 1").replace("[ 4, 8 ]", "[ 1 ]")
        file.write_text(text)
    settings = {"QUINTET_MOCK_BATCH_SECONDS": "0.5"}
    with (
        triton.running(tmp_path / "triton.txt", repository, **settings) as server,
        running("predictors.gpt4_nano", {"QUINTET_TRITON_URL": server.grpc}, seconds=STARTING) as front,
    ):
        async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
            answers = await asyncio.gather(*(client.post(INFER, json=CURL) for _ in range(16)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert answer.json()["code"] == "overloaded"
                assert int(answer.headers["retry-after"]) >= 1


async def test_a_caller_that_goes_ends_its_request_inside_triton(tmp_path: Path) -> None:
    """Requests waiting in Triton's queue are not computed once nobody waits for them."""
    settings = {"QUINTET_MOCK_BATCH_SECONDS": "0.5"}
    with (
        triton.running(tmp_path / "triton.txt", REPOSITORY, **settings) as server,
        running("predictors.gpt4_nano", {"QUINTET_TRITON_URL": server.grpc}, seconds=STARTING) as front,
    ):
        before, _ = server.executions()
        async with httpx.AsyncClient(base_url=front.url, timeout=60, trust_env=False) as client:
            asked = [asyncio.create_task(client.post(INFER, json=CURL)) for _ in range(64)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            assert (await client.post(INFER, json=CURL)).status_code == 200
        answered, _ = server.executions()
        assert done
        # Two instances of eight each had two batches at most before the callers went.
        assert answered - before <= 4 * 8 + 1


def test_a_backend_that_cannot_load_is_said_in_a_sentence() -> None:
    settings = {"QUINTET_MODEL_DIR": str(REPOSITORY), "QUINTET_BACKEND": "openai"}
    with running("predictors.gpt4_nano", settings, ready=False) as server:
        code = server.wait(STARTING)
    (told,) = [line["message"] for line in server.lines if line["message"].startswith("The model was not")]
    assert code == NOT_LOADED
    assert told.endswith("The backend openai needs openai_api_key_file (or openai_api_key).")


@pytest.fixture(scope="module")
def provider() -> Iterator[openai_stub.Stub]:
    with openai_stub.running() as stub:
        yield stub


@pytest.fixture(scope="module")
def hosted(provider: openai_stub.Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a Triton of its own, whose model is somebody else's."""
    key = tmp_path_factory.mktemp("secret") / "key"
    key.write_text(f"{openai_stub.KEY}\n")
    settings = {
        "QUINTET_MODEL_DIR": str(REPOSITORY),
        "QUINTET_BACKEND": "openai",
        "QUINTET_OPENAI_BASE_URL": provider.url,
        "QUINTET_OPENAI_API_KEY_FILE": str(key),
        "QUINTET_OPENAI_ATTEMPTS": "3",
    }
    with running("predictors.gpt4_nano", settings, seconds=STARTING) as server:
        yield server


@pytest.mark.parametrize("prompt", ["Hello", "[429] Hello", "[500] Hello", "[broken] Hello"])
def test_a_provider_s_answer_comes_through_with_its_counts(
    hosted: Server, provider: openai_stub.Stub, prompt: str
) -> None:
    """Also one that first says to come back, fails or breaks off; the warm-up has not asked it."""
    answer = httpx.post(f"{hosted.url}{GENERATE}", json={"prompt": prompt, "max_tokens": 9}, timeout=60)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["response"] == f"You said: {prompt}"
    assert (body["prompt_tokens"], body["tokens_used"]) == (11, 7)
    assert body["model"] == "gpt-4.1-nano-2025-04-14"
    asked = {request["messages"][0]["content"] for request in provider.seen}
    assert "What is Triton?" not in asked


@pytest.mark.parametrize(
    ("prompt", "status", "says"),
    [
        ("[long]", 422, "prompt must be shorter"),
        ("[quota]", 500, "The model failed"),
        ("[odd]", 500, "The model failed"),
        ("[garbage]", 503, "cannot answer now"),
    ],
)
@pytest.mark.parametrize("route", [GENERATE, f"{GENERATE}_stream"])
def test_what_a_provider_refuses_is_told_without_internals(
    hosted: Server, route: str, prompt: str, status: int, says: str
) -> None:
    answer = httpx.post(f"{hosted.url}{route}", json={"prompt": prompt}, timeout=60)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    assert "127.0.0.1" not in answer.text
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_an_odd_answer_of_a_provider_fails_its_request_alone(
    hosted: Server, provider: openai_stub.Stub
) -> None:
    """Also where Triton had put it into one batch with others."""
    prompts = [f"[odd] {number}" if number % 4 == 2 else f"Caller {number}" for number in range(16)]
    async with httpx.AsyncClient(base_url=hosted.url, timeout=60, trust_env=False) as client:
        answers = await asyncio.gather(*(client.post(GENERATE, json={"prompt": p}) for p in prompts))
    for prompt, answer in zip(prompts, answers, strict=True):
        if "[odd]" in prompt:
            assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        else:
            assert answer.json()["response"] == f"You said: {prompt}"


def test_a_provider_s_refusal_is_an_answer_that_says_so(hosted: Server) -> None:
    body = httpx.post(f"{hosted.url}{GENERATE}", json={"prompt": "[refuse]"}, timeout=60).json()
    assert (body["response"], body["finish_reason"]) == ("I can't help with that.", "content_filter")


def test_a_provider_s_pieces_are_streamed(hosted: Server) -> None:
    answer = httpx.post(f"{hosted.url}{GENERATE}_stream", json={"prompt": "Hello"}, timeout=60)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [event["response"] for event in events] == ["You", " said: ", "Hello", ""]
    assert events[-1]["tokens_used"] == 7


def test_a_triton_of_its_own_is_started_again_when_it_dies_and_ends_with_it(
    provider: openai_stub.Stub, hosted: Server
) -> None:
    """The last test of this server."""
    os.kill(_child_of(hosted.process.pid), signal.SIGKILL)
    hosted.wait_for("Triton is not ready.", STARTING)
    hosted.wait_for("Triton is ready.", STARTING)
    assert httpx.post(f"{hosted.url}{INFER}", json=CURL, timeout=60).status_code == 200
    child = _child_of(hosted.process.pid)
    hosted.terminate()
    hosted.wait(60)
    end = time.monotonic() + 60
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "Triton outlives its transformer"
        time.sleep(0.05)


def _child_of(pid: int) -> int:
    """The one that is not a helper thread's: Triton's."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "tritonserver" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    raise AssertionError("there is no Triton")
