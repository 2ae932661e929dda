"""Between two steps of gpt2: who hangs up is left out, the short leave first, a stream keeps its model.

Steps take 50 ms here (tests.support.slow_gpt2), so that they can be told apart from outside.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.gpt2 import state_dict, write_artifact
from tests.support.servers import Server, running

MAX_NEW = 900


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models of random weights, which go on for ever, and memory for one."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("generate", "got")):
        write_artifact(folder, state_dict(context=1024, seed=seed), name)
    environment = {
        "QUINTET_MODEL_DIR": str(folder),
        "QUINTET_MEMORY_MIB": "100",
        "QUINTET_MAX_CONTEXT": "1024",
        "QUINTET_MAX_NEW_TOKENS": str(MAX_NEW),
        "QUINTET_LOADS_PER_MINUTE": "60",
    }
    with running("tests.support.slow_gpt2", environment) as server:
        yield server


@pytest.fixture(scope="module")
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def body(tokens: int, **others: object) -> dict[str, Any]:
    return {"prompt": "The king", "max_new_tokens": tokens, "temperature": 0, **others}


def metric(http: httpx.Client, name: str) -> float:
    return float(http.get("/metrics").text.split(f"\nquintet_{name} ")[1].split("\n")[0])


def wait_for(http: httpx.Client, name: str, wanted: float) -> None:
    end = time.monotonic() + 10
    while metric(http, name) != wanted:
        assert time.monotonic() < end, f"{name} never is {wanted}"


def steps(http: httpx.Client) -> float:
    """That all sequences together have been in."""
    return metric(http, "batch_items_sum")


@pytest.mark.parametrize("stream", [False, True])
def test_a_hang_up_is_over_within_two_steps(server: Server, http: httpx.Client, stream: bool) -> None:
    sent = json.dumps(body(MAX_NEW, stream=stream)).encode()
    head = (
        f"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(sent)}"
    )
    before = steps(http)
    with socket.create_connection(("127.0.0.1", server.http_port)) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + sent)
        while (gone := steps(http)) < before + 3:
            pass
    wait_for(http, 'requests_in_flight{transport="rest"}', 1)  # the scrape itself
    # Whoever comes next has the engine for himself: a sequence that went on would be in his steps.
    assert http.post("/generate", json=body(3)).status_code == 200
    assert steps(http) - gone - 3 <= 2


async def test_a_short_request_leaves_before_the_long_ones_it_joined(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:

        async def ask(tokens: int) -> int:
            response = await client.post("/generate", json=body(tokens))
            return response.json()["usage"]["completion_tokens"]

        long = [asyncio.create_task(ask(128)) for _ in range(7)]
        while b'in_flight{transport="rest"} 8.0' not in (await client.get("/metrics")).content:
            assert not any(task.done() for task in long)
        assert await ask(12) == 12
        assert not any(task.done() for task in long)
        assert await asyncio.gather(*long) == [128] * 7


def test_a_stream_keeps_its_model_until_it_ends(http: httpx.Client) -> None:
    assert http.post("/generate", json=body(1)).status_code == 200, "generate is what is loaded"
    with http.stream("POST", "/generate", json=body(MAX_NEW, task_name="got", stream=True)) as response:
        assert response.status_code == 200, "loaded in the place of generate"
        lines = response.iter_lines()
        next(lines)
        refused = http.post("/generate", json=body(1))
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert refused.headers["retry-after"] == "5"
        assert "The models in use leave no memory" in refused.json()["error"]
        assert http.post("/generate", json=body(1, task_name="got")).status_code == 200, "beside it"
        assert next(line for line in lines if line.startswith("event: ")) == "event: token", "it goes on"
    wait_for(http, 'requests_in_flight{transport="rest"}', 1)
    assert http.post("/generate", json=body(1)).status_code == 200
