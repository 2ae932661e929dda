"""What every model must do, found by looking: a folder in predictors/ with an examples.json and a demo.

A new model is tested here without a line being added.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack import environments
from hack.demo_models import demo_checkpoint
from predictors.runtime.tensors import TensorSpec
from tests.contract.conftest import target_of
from tests.support.servers import ROOT, Server, running
from tests.support.transports import Items, Outputs, Target, v1

pytestmark = pytest.mark.timeout(700)

STARTING = 600
"""Seconds until the slowest engine is ready, on a machine that is busy with other things."""
DETERMINISTIC = {"text_evaluator": {"QUINTET_TEMPERATURE": "0", "DTYPE": "float32"}}
"""Settings of models that otherwise answer the same call in several ways."""
MODELS = sorted(path.parent.name for path in (ROOT / "predictors").glob("*/__main__.py"))


@pytest.fixture(scope="module", params=MODELS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The model's own process with its demo checkpoint."""
    model: str = request.param
    settings = {**DETERMINISTIC.get(model, {}), "QUINTET_MODEL_DIR": str(demo_checkpoint(model))}
    settings["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    python = environments.python(model)
    with running(f"predictors.{model}", settings, python=python, seconds=STARTING) as server:
        server.model = model  # type: ignore[attr-defined]
        yield server


@pytest.fixture(scope="module")
def target(server: Server) -> Iterator[Target]:
    model: str = server.model  # type: ignore[attr-defined]
    metadata = httpx.get(f"{server.url}/v2/models/{model}").json()
    inputs = tuple(TensorSpec(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"])
    with target_of(server, model, inputs) as target:
        yield target


@pytest.fixture(scope="module")
def examples(server: Server) -> dict[str, Any]:
    return json.loads((ROOT / "predictors" / server.model / "examples.json").read_text())  # type: ignore[attr-defined]


def test_its_examples_are_answered(target: Target, examples: dict[str, Any]) -> None:
    paths = {"v1": f"/v1/models/{target.model}:predict", "v2": f"/v2/models/{target.model}/infer"}
    for name, example in examples.items():
        response = target.http.post(example.get("path") or paths[name], json=example["body"])
        assert response.is_success, (name, response.text)


def _items(target: Target, examples: dict[str, Any]) -> list[dict[str, Any]]:
    (first, *_) = target.inputs
    instances = examples["v1"]["body"]["instances"]
    return [value if isinstance(value, dict) else {first.name: value} for value in instances]


def test_every_transport_gives_the_same_answer(
    target: Target, examples: dict[str, Any], call: Callable[[Target, Items], Outputs]
) -> None:
    items = _items(target, examples)
    for ours, expected in zip(call(target, items), v1(target, items), strict=True):
        assert set(ours) >= set(expected)
        for name, value in ours.items():
            if name not in expected:
                assert not value, f"{name}: v1 leaves out what an item does not have, a tensor has it empty"
            elif isinstance(expected[name], list | dict):
                found = value if call is v1 else json.loads(value)
                assert found == expected[name], name
            elif isinstance(expected[name], float):
                assert value == pytest.approx(expected[name], rel=1e-6), name
            else:
                assert value == expected[name], name


def test_it_says_what_it_is(target: Target) -> None:
    assert target.http.get("/v2/health/ready").status_code == 200
    assert target.http.get("/health").json()["service"] == target.model.replace("_", "-")
    detailed = target.http.get("/health/detailed").json()
    assert detailed["state"] == "ready"
    assert all(detailed[key] for key in ("engine", "device", "dtype", "checksum"))
    assert set(detailed["queue"]) == {"items", "tokens"}


def test_its_api_is_documented(target: Target, examples: dict[str, Any]) -> None:
    document = target.http.get("/openapi.json").json()
    assert examples["domain"]["path"] in document["paths"]
    assert "HTTPValidationError" not in str(document)  # FastAPI's own shape, which nobody is ever sent
    assert target.http.get("/docs").status_code == 200


def test_its_metrics_are_what_prometheus_takes(target: Target, promtool: str) -> None:
    # Those of an engine (vllm:...) are named by others.
    lines = target.http.get("/metrics").text.splitlines(keepends=True)
    text = "".join(line for line in lines if "vllm:" not in line)
    run = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_it_ends_with_code_3_and_a_sentence_when_its_weights_are_missing(
    target: Target, tmp_path: Path
) -> None:
    missing = tmp_path / "nothing-here"
    settings, python = {"QUINTET_MODEL_DIR": str(missing)}, environments.python(target.model)
    with running(f"predictors.{target.model}", settings, ready=False, python=python) as server:
        assert server.wait(60) == 3
    errors = [line["message"] for line in server.lines if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert str(missing) in errors[0]
