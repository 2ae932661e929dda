"""Training with a real MLflow server, and serving what it registered there."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

from predictors.multitask_nlp.registry import fetched, prepare_mlflow
from predictors.multitask_nlp.training import __main__ as command
from predictors.multitask_nlp.training.evaluation import Metrics
from predictors.multitask_nlp.training.gate import Drops
from predictors.multitask_nlp.training.run import run
from predictors.multitask_nlp.training.tracking import ALIAS, REGISTERED
from predictors.runtime.errors import LoadError
from tests.support.mlflow import mlflow_server
from tests.support.multitask_nlp import LENGTH, write_encoder
from tests.support.servers import ROOT, free_port, running

pytestmark = pytest.mark.timeout(600)

PASSWORD = "hunter2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps in a process where it was told to look, and prefers that to MLFLOW_TRACKING_URI."""
    prepare_mlflow()
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)


class Quiet:
    def step(self, step: int, steps: int, task: str, loss: float) -> None: ...
    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None: ...


def train(tracking: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A few steps of a small encoder on made data, which teach too little for the gate."""
    write_encoder(folder / "encoder")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    options = ["train", "--made", "--encoder", str(folder / "encoder"), "--output", str(folder / "out")]
    small = ["--max-samples", "48", "--epochs", "1", "--evaluations", "1", "--max-length", str(LENGTH)]
    made = command.job(command.parser().parse_args([*options, *small]))
    anything = Drops(sentiment_accuracy=1, ner_f1=1, qa_exact_match=100, qa_f1=100)
    return run(dataclasses.replace(made, drops=anything), Quiet())


def test_what_is_trained_is_registered_there_and_served_from_there(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    login = server.replace("//", f"//me:{PASSWORD}@")
    assert f"models:/{REGISTERED}@{ALIAS}" in train(login, tmp_path, monkeypatch)
    said = capfd.readouterr()
    assert PASSWORD not in said.out + said.err
    client = MlflowClient(server, server)
    version = client.get_model_version_by_alias(REGISTERED, ALIAS)
    assert version.run_id is not None
    trained = client.get_run(version.run_id)
    assert trained.info.status == "FINISHED"
    assert {"sentiment_accuracy", "ner_f1", "qa_exact_match", "qa_f1"} <= trained.data.metrics.keys()
    weights = {"QUINTET_MODEL_URI": f"models:/{REGISTERED}@{ALIAS}", "MLFLOW_TRACKING_URI": login}
    with running("predictors.multitask_nlp", weights, seconds=120) as predictor:
        answer = httpx.post(f"{predictor.url}/predict/sentiment", json={"text": "What a film!"}, timeout=30)
    assert answer.json()["sentiment"] in ("positive", "negative")


def test_a_server_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    write_encoder(tmp_path / "encoder")
    address = f"http://me:{PASSWORD}@127.0.0.1:{free_port()}"
    options = ["train", "--made", "--encoder", str(tmp_path / "encoder"), "--output", str(tmp_path / "out")]
    trained = subprocess.run(
        [sys.executable, "-m", "predictors.multitask_nlp.training", *options, "--max-length", str(LENGTH)],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert trained.returncode == 1
    assert "error: MLflow failed at the server of MLFLOW_TRACKING_URI" in trained.stderr
    assert PASSWORD not in trained.stdout + trained.stderr


def test_serving_does_not_say_the_password_of_a_registry_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(LoadError, match="could not be fetched") as said, fetched("models:/multitask_nlp/1"):
        pass
    assert PASSWORD not in str(said.value)
