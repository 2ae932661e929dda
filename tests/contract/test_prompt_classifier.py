"""The published routes of prompt_classifier on its demo checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from hack.demo_models import demo_checkpoint
from predictors.prompt_classifier.routes import ClassifyResponse
from tests.support.servers import running

JSON = {"content-type": "application/json"}


def serving(**settings: str) -> Any:
    folder = demo_checkpoint("prompt_classifier")
    return running("predictors.prompt_classifier", {"QUINTET_MODEL_DIR": str(folder), **settings})


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serving() as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def classify(client: httpx.Client, *prompts: str) -> dict[str, list[Any]]:
    response = client.post("/classify", json={"prompts": prompts})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_answer_is_parallel_lists_in_the_order_of_the_prompts(client: httpx.Client) -> None:
    prompts = ["Write a Python function that reverses a list.", "What is the capital of France?"]
    together = classify(client, *prompts)
    assert set(together) == set(ClassifyResponse.model_fields)
    assert all(len(values) == 2 for values in together.values())
    for index, prompt in enumerate(prompts):
        alone = client.post("/classify/single", json={"prompt": prompt}).json()
        for name, values in alone.items():
            expected = together[name][index]
            # Fields are rounded to 3 to 5 decimals: a batch may differ in the last one.
            assert values == [
                pytest.approx(expected, abs=2e-3) if isinstance(expected, float) else expected
            ], name


def test_the_demo_model_tells_tasks_apart(client: httpx.Client) -> None:
    answer = classify(
        client,
        "Write a Python function that reverses a list.",
        "Summarize the following article in two sentences: The city council met to discuss the budget.",
        "What is the capital of France?",
    )
    assert answer["task_type_1"] == ["Code Generation", "Summarization", "Open QA"]


@pytest.mark.parametrize(
    "prompt",
    ["", " ", "\0", "שלום עולם, מה שלומך?", "👩‍👩‍👧 e\u0301 日本語", "\u202eright to left override", "a" * 9],
    ids=["empty", "space", "NUL", "Hebrew", "emoji", "override", "one word"],
)
def test_any_text_has_an_answer_in_range(client: httpx.Client, prompt: str) -> None:
    answer = classify(client, prompt)
    assert 0 <= answer["prompt_complexity_score"][0] <= 1.2
    assert answer["truncated"] == [False]


def test_a_hundred_thousand_characters_are_truncated_and_said_to_be(client: httpx.Client) -> None:
    answer = classify(client, "short", "word and more " * 7200)
    assert answer["truncated"] == [False, True]


def test_long_prompts_are_read_to_their_end_when_windowed(client: httpx.Client) -> None:
    start = "Write a Python function that reverses a list. " * 60
    end = "Write a poem about the sea and the moon. " * 300
    with (
        serving(QUINTET_LONG_PROMPTS="window") as server,
        httpx.Client(base_url=server.url, timeout=60) as windowed,
    ):
        whole = classify(windowed, start + end)
        assert whole["truncated"] == [False]
        assert classify(windowed, start)["prompt_complexity_score"] != whole["prompt_complexity_score"]
    cut = classify(client, start + end)
    assert cut["truncated"] == [True]
    assert cut["creativity_scope"] != whole["creativity_scope"]


def test_a_hundred_prompts_are_answered_and_one_more_is_refused(client: httpx.Client) -> None:
    assert len(classify(client, *["hi"] * 100)["task_type_1"]) == 100
    refused = client.post("/classify", json={"prompts": ["hi"] * 101})
    assert refused.status_code == 422
    assert refused.json()["details"][0]["field"] == "prompts"


@pytest.mark.parametrize(
    ("route", "body", "status", "field"),
    [
        ("/classify", b'{"prompts": []}', 422, "prompts"),
        ("/classify", b'{"prompts": "one"}', 422, "prompts"),
        ("/classify", b'{"prompts": ["a", 7]}', 422, "prompts[1]"),
        ("/classify", b'{"prompts": ["a", null]}', 422, "prompts[1]"),
        ("/classify", rb'{"prompts": ["\ud800"]}', 422, "prompts[0]"),
        ("/classify", rb'{"prompts": ["a"], "\ud800": 1}', 422, ""),
        ("/classify", b"{}", 422, "prompts"),
        ("/classify", b'{"prompts": ["a"], "model": "x"}', 422, "model"),
        ("/classify", b"[]", 422, ""),
        ("/classify", b'{"prompts": ["a"', 400, ""),
        ("/classify", b"", 422, ""),
        ("/classify", b'{"prompts": ["\xff"]}', 400, ""),
        ("/classify", b'{"prompts": ' + b"[" * 50_000, 400, ""),
        ("/classify/single", b'{"prompt": ""}', 422, "prompt"),
        ("/classify/single", json.dumps({"prompt": "x" * 10_001}).encode(), 422, "prompt"),
        ("/classify/single", b'{"prompts": ["a"]}', 422, "prompt"),
        ("/benchmark", b'{"requests": 0}', 422, "requests"),
        ("/benchmark", b'{"requests": 1000000}', 422, "requests"),
        ("/benchmark", b'{"prompts": []}', 422, "prompts"),
        ("/benchmark", b'{"max_seconds": 1e9}', 422, "max_seconds"),
        ("/benchmark", b'{"max_seconds": 1e-9}', 422, "max_seconds"),
        ("/benchmark", json.dumps({"prompts": ["a"] * 100, "concurrency": 16}).encode(), 422, "concurrency"),
    ],
)
def test_bad_input_is_refused_with_its_field(
    client: httpx.Client, route: str, body: bytes, status: int, field: str
) -> None:
    response = client.post(route, content=body, headers=JSON)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error", "code", "details"}
    assert field in [detail["field"] for detail in response.json()["details"]] or not field


def test_a_million_mistakes_are_answered_briefly(client: httpx.Client) -> None:
    body = b'{"prompts": [' + b",".join([b"1"] * 500_000) + b"]}"
    response = client.post("/classify", content=body, headers=JSON)
    assert response.status_code == 422
    assert len(response.content) < 10_000


def test_text_that_is_not_json_by_its_type_is_refused(client: httpx.Client) -> None:
    response = client.post("/classify", content=b"prompts=a", headers={"content-type": "text/plain"})
    assert response.status_code == 415


def test_three_megabytes_are_too_large(client: httpx.Client) -> None:
    assert client.post("/classify", json={"prompts": ["x" * 3_000_000]}).status_code == 413


def test_the_benchmark_reports_what_it_measured(client: httpx.Client) -> None:
    report = client.post(
        "/benchmark", json={"prompts": ["hi", "write code"], "requests": 5, "concurrency": 2}
    ).json()
    assert (report["requests"], report["prompts"]) == (5, 10)
    lengths = report["tokens_per_prompt"]
    assert 2 < lengths["min"] <= lengths["mean"] <= lengths["max"] < 20
    times = report["latency_ms"]
    assert 0 < times["p50"] <= times["p90"] <= times["p95"] <= times["p99"] <= times["max"]
    assert report["throughput"]["prompts_per_second"] > 0
    assert report["engine"]


def test_the_benchmark_keeps_to_its_time(client: httpx.Client) -> None:
    report = client.post("/benchmark", json={"requests": 100, "max_seconds": 0.5}).json()
    assert report["seconds"] < 5
    assert report["requests"] >= 1


@pytest.mark.parametrize(
    ("path", "refusals"),
    [
        ("/classify", {422}),
        ("/classify/single", {422}),
        ("/v1/models/prompt_classifier:predict", {422}),
        # What a tensor's shape and data must have in common no schema can say.
        ("/v2/models/prompt_classifier/infer", {400, 422}),
    ],
)
def test_whatever_the_schema_allows_is_answered_as_the_schema_says(
    client: httpx.Client, path: str, refusals: set[int]
) -> None:
    """Property-based, from the OpenAPI document itself: no 500, and every answer in its declared shape."""
    operation = schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")[path]["POST"]
    beyond_schemas = [positive_data_acceptance] if 400 in refusals else []

    @settings(max_examples=30, deadline=None)
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        response = case.call_and_validate(base_url=str(client.base_url), excluded_checks=beyond_schemas)
        assert response.status_code in {200} | refusals

    check()
