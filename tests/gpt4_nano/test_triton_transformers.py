"""The backend transformers inside a real Triton: the model lies in the version folder, batches are padded."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support import tiny_causal_lm, triton
from tests.support.triton import REPOSITORY, Triton

pytestmark = pytest.mark.timeout(600)

LENGTHS = {"w1 w2 w3 w4 w5 w6": 12, "w9": 5, "w7 w7 w8": 20, "w3 w4 w5 w6 w7 w8 w9 w10 w11": 9}
"""Prompts, so that a batch of them is padded, and the most tokens each may have."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One instance of each model: requests that come while it computes are its next batch."""
    folder = tmp_path_factory.mktemp("transformers")
    repository = folder / "models"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    for config in repository.glob("*/config.pbtxt"):
        config.write_text(config.read_text().replace("count: 2", "count: 1"))
        tiny_causal_lm.save(config.parent / "1")
    with triton.running(folder / "log.txt", repository, QUINTET_BACKEND="transformers") as one:
        yield one


def body(*prompts: str) -> dict[str, Any]:
    columns = {
        "prompt": ("BYTES", list(prompts)),
        "max_tokens": ("INT32", [LENGTHS[prompt] for prompt in prompts]),
        "temperature": ("FP32", [0.0] * len(prompts)),
    }
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(prompts), 1], "data": data}
        for name, (datatype, data) in columns.items()
    ]
    return {"inputs": inputs}


def rows(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    columns = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


async def test_a_padded_batch_says_what_each_prompt_says_alone(server: Triton) -> None:
    """Whether the caller puts the rows together or Triton does."""
    url = f"http://{server.http}/v2/models/gpt4_nano/infer"
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        alone = {prompt: rows(await client.post(url, json=body(prompt)))[0] for prompt in LENGTHS}
        assert rows(await client.post(url, json=body(*LENGTHS))) == list(alone.values())

        before = server.executions()
        prompts = [*LENGTHS] * 8
        answers = await asyncio.gather(*(client.post(url, json=body(prompt)) for prompt in prompts))
        assert [rows(answer)[0] for answer in answers] == [alone[prompt] for prompt in prompts]
    requests, executions = (now - then for now, then in zip(server.executions(), before, strict=True))
    assert requests == len(prompts)
    assert executions < requests

    for prompt, row in alone.items():
        assert row["model"] == "GPT2LMHeadModel"
        assert row["prompt_tokens"] == len(prompt.split())
        assert row["tokens_used"] == len(row["response"].split()) > 0
        assert row["finish_reason"] == ("length" if row["tokens_used"] == LENGTHS[prompt] else "stop")
    assert len({row["response"] for row in alone.values()}) == len(alone)


def test_what_exceeds_the_model_s_context_is_named(server: Triton) -> None:
    asked = body("w9")
    asked["inputs"][1]["data"] = [64]
    answer = httpx.post(f"http://{server.http}/v2/models/gpt4_nano/infer", json=asked, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("prompt must leave room: 1 and max_tokens exceed the context 64")


@pytest.mark.parametrize("prompt", LENGTHS)
def test_a_stream_is_the_same_text_a_piece_a_token(server: Triton, prompt: str) -> None:
    with httpx.Client(base_url=f"http://{server.http}", timeout=60, trust_env=False) as client:
        (whole,) = rows(client.post("/v2/models/gpt4_nano/infer", json=body(prompt)))
        asked = {"prompt": prompt, "max_tokens": LENGTHS[prompt], "temperature": 0.0}
        answer = client.post("/v2/models/gpt4_nano_stream/generate_stream", json=asked)
    *pieces, last = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert "".join(piece["response"] for piece in pieces) == whole["response"]
    assert len(pieces) == whole["tokens_used"]
    assert {name: last[name] for name in whole} == {**whole, "response": ""}
