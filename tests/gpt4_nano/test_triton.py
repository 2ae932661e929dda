"""The model repository in a real Triton Inference Server, asked by Triton's own clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton_http
from openai_comsumer import OpenAITritonService
from quintet_client import AsyncOpenAITritonService, errors

from tests.support import triton
from tests.support.servers import ROOT
from tests.support.triton import Triton

pytestmark = pytest.mark.timeout(600)

WAVE = 64


@pytest.fixture(scope="module")
def slow_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A batch takes 100 ms, however many rows it has."""
    log = tmp_path_factory.mktemp("slow") / "log.txt"
    with triton.running(log, QUINTET_MOCK_BATCH_SECONDS="0.1") as server:
        yield server


def tensor(name: str, rows: list[object], datatype: str) -> triton_http.InferInput:
    made = triton_http.InferInput(name, [len(rows), 1], datatype)
    kinds = {"BYTES": np.object_, "INT32": np.int32, "FP32": np.float32}
    made.set_data_from_numpy(np.array(rows, dtype=kinds[datatype]).reshape(-1, 1))
    return made


def test_http_with_rows_and_without_optional_inputs(mock_triton: Triton) -> None:
    with triton_http.InferenceServerClient(mock_triton.http) as client:
        answer = client.infer("gpt4_nano", [tensor("prompt", [b"python", b"triton"], "BYTES")])
    responses = answer.as_numpy("response")
    assert responses is not None
    assert responses.shape == (2, 1)
    assert responses[0, 0].startswith(b"Python is")
    assert responses[1, 0].startswith(b"Triton Inference Server is")


def test_http_with_every_published_input(mock_triton: Triton) -> None:
    inputs = [
        tensor("prompt", [b"machine learning"], "BYTES"),
        tensor("max_tokens", [13], "INT32"),
        tensor("temperature", [0.1], "FP32"),
    ]
    with triton_http.InferenceServerClient(mock_triton.http) as client:
        answer = client.infer("gpt4_nano", inputs)
    tokens = answer.as_numpy("tokens_used")
    assert tokens is not None
    assert tokens.tolist() == [[13]]


def test_grpc_and_its_stream(mock_triton: Triton) -> None:
    command = [sys.executable, str(ROOT / "tests/support/triton_grpc.py"), mock_triton.grpc]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["shape"] == [2, 1]
    assert told["responses"][0].startswith("Python is")
    assert "temperature must be a finite number" in told["refused"]
    assert told["streamed"].startswith("Triton Inference Server is")
    assert told["pieces"] > 5


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["x"]}], "shape"),
        ([], "prompt"),
        (
            [
                {"name": "prompt", "datatype": "BYTES", "shape": [1, 1], "data": ["x"]},
                {"name": "max_tokens", "datatype": "INT32", "shape": [1, 1], "data": [-1]},
            ],
            "max_tokens must be an integer from 1",
        ),
        (
            [{"name": "prompt", "datatype": "BYTES", "shape": [1, 1], "data": ["x" * (1 << 20)]}],
            "prompt must",
        ),
    ],
)
def test_bad_input_is_named(mock_triton: Triton, inputs: list[dict], says: str) -> None:
    answer = httpx.post(f"http://{mock_triton.http}/v2/models/gpt4_nano/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def body(prompt: str, **numbers: int) -> dict[str, object]:
    inputs = [{"name": "prompt", "datatype": "BYTES", "shape": [1, 1], "data": [prompt]}]
    inputs += [
        {"name": name, "datatype": "INT32", "shape": [1, 1], "data": [value]}
        for name, value in numbers.items()
    ]
    return {"inputs": inputs}


async def test_callers_at_the_same_time_get_their_own_answers_in_few_calls_of_the_model(
    slow_triton: Triton,
) -> None:
    """Also beside requests that are refused: a bad row fails alone."""
    before = slow_triton.executions()
    url = f"http://{slow_triton.http}/v2/models/gpt4_nano/infer"
    limits = httpx.Limits(max_connections=2 * WAVE)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:

        async def ask(number: int) -> httpx.Response:
            tokens = -1 if number % 16 == 5 else 150
            return await client.post(url, json=body(f"Caller {number:03d}", max_tokens=tokens))

        answers = await asyncio.gather(*(ask(number) for number in range(WAVE)))
    for number, answer in enumerate(answers):
        if number % 16 == 5:
            assert answer.status_code == 400, answer.text
            continue
        (response,) = [o["data"] for o in answer.json()["outputs"] if o["name"] == "response"]
        assert f"'Caller {number:03d}...'" in response[0]
    requests, executions = (
        after - first for after, first in zip(slow_triton.executions(), before, strict=True)
    )
    assert requests >= WAVE - 4
    assert executions <= requests / 3


async def test_a_request_whose_time_in_the_queue_is_over_is_refused(slow_triton: Triton) -> None:
    url = f"http://{slow_triton.http}/v2/models/gpt4_nano/infer"
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        before = asyncio.gather(*(client.post(url, json=body(f"Caller {number}")) for number in range(32)))
        await asyncio.sleep(0)
        hasty = await client.post(url, json={**body("Hasty"), "parameters": {"timeout": 1000}})
        assert {answer.status_code for answer in await before} == {200}
    assert hasty.status_code == 503
    assert "timeout" in hasty.json()["error"].lower()


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_published_client_lines(mock_triton: Triton, scheme: str) -> None:
    with OpenAITritonService(f"{scheme}{mock_triton.http}") as service:
        result = service.generate_text("What is machine learning?")
        assert set(result) == {"response", "tokens_used"}
        assert result["response"].startswith("Machine learning is")
        assert service.generate_text("triton", 3, 0.1)["tokens_used"] == 3
        with pytest.raises(errors.Malformed, match="max_tokens must"):
            service.generate_text("triton", max_tokens=-1)


async def test_the_client_for_asyncio(mock_triton: Triton) -> None:
    async with AsyncOpenAITritonService(mock_triton.http) as service:
        result = await service.generate_text("triton", stop=["open-source", "never"])
    assert result["response"] == "Triton Inference Server is an "


def test_a_client_without_a_server_says_so() -> None:
    with (
        OpenAITritonService("127.0.0.1:9") as service,
        pytest.raises(errors.ConnectionFailed),
    ):
        service.generate_text("x")
