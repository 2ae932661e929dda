"""The key of QUINTET_API_KEY: asked for on every route but those where one only looks."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.gemma import write_tokenizer
from tests.support.servers import Server, running

KEY = "a key"
JOB = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """text_evaluator: the model with most routes of its own, and not only POST."""
    folder = write_tokenizer(tmp_path_factory.mktemp("model"))
    settings = {"QUINTET_MODEL_DIR": str(folder), "QUINTET_STORE": f"sqlite:{folder}/jobs.db"}
    with running("tests.support.evaluator", {**settings, "QUINTET_API_KEY": KEY}) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/evaluate"),
        ("POST", "/v1/models/text_evaluator:predict"),
        ("POST", "/v2/models/text_evaluator/infer"),
        ("GET", "/jobs"),
        ("HEAD", "/jobs"),
        ("GET", f"/jobs/{JOB}"),
        ("DELETE", f"/jobs/{JOB}"),
        ("GET", f"/jobs/{JOB}/results"),
        ("GET", f"/stream/{JOB}"),
        ("GET", "/admin/jobs"),
        ("GET", f"/admin/jobs/{JOB}"),
    ],
)
def test_without_the_key_nothing_is_done(server: Server, method: str, path: str) -> None:
    for headers in ({}, {"x-api-key": "another"}, {"x-api-key": ""}):
        assert httpx.request(method, server.url + path, headers=headers).status_code == 401
    assert httpx.request(method, server.url + path, headers={"x-api-key": KEY}).status_code != 401


@pytest.mark.parametrize(
    "path",
    [
        *("/health", "/health/detailed", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v2"),
        *("/v2/health/live", "/v2/health/ready", "/v2/models/text_evaluator", "/v1/models/text_evaluator"),
    ],
)
def test_looking_needs_no_key(server: Server, path: str) -> None:
    assert httpx.get(server.url + path).status_code == 200
