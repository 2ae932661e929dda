"""Whole runs on a small encoder: what MLflow is told, what is registered, the gate, a kill in the middle."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import mlflow.artifacts
import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from predictors.multitask_nlp.artifact import GRAPH
from predictors.multitask_nlp.predictor import MultitaskNlp
from predictors.multitask_nlp.registry import fetched, prepare_mlflow
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.multitask_nlp.tasks import Query
from predictors.multitask_nlp.training import __main__ as command
from predictors.multitask_nlp.training.evaluation import Metrics
from predictors.multitask_nlp.training.gate import Drops, GateClosed
from predictors.multitask_nlp.training.loop import Recipe
from predictors.multitask_nlp.training.run import WEIGHTS, Job, run
from predictors.multitask_nlp.training.sources import Sources
from predictors.multitask_nlp.training.tracking import ALIAS, REGISTERED
from predictors.runtime.errors import LoadError
from tests.support.servers import ROOT, running

pytestmark = pytest.mark.slow

ANY = Drops(sentiment_accuracy=1, ner_f1=1, qa_exact_match=100, qa_f1=100)
METRICS = ("sentiment_accuracy", "ner_f1", "qa_exact_match", "qa_f1", "eval_loss")


class Quiet:
    def step(self, step: int, steps: int, task: str, loss: float) -> None: ...
    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None: ...


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracking server's address, as a folder."""
    uri = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    prepare_mlflow()
    mlflow.set_tracking_uri(uri)
    return uri


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder of JSON lines for each task: eight short examples a split."""
    folder = tmp_path_factory.mktemp("data")
    answers = {"text": ["rome"], "answer_start": [8]}
    rows: dict[str, list[dict[str, object]]] = {
        "sentiment": [{"text": f"{'good' if n % 2 else 'bad'} {n}", "label": n % 2} for n in range(8)],
        "ner": [{"tokens": ["bo", "is", str(n)], "tags": ["B-PER", "O", "O"]} for n in range(8)],
        "qa": [
            {"id": str(n), "question": "where?", "context": f"{n} is in rome", "answers": answers}
            for n in range(8)
        ],
    }
    for task, lines in rows.items():
        (folder / task).mkdir()
        for split in ("train", "validation"):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / task / f"{split}.jsonl").write_text(text)
    return {task: str(folder / task) for task in rows}


class Stopped(Quiet):
    """Has the run end at a step, as by Ctrl-C."""

    def __init__(self, at: int) -> None:
        self._at = at

    def step(self, step: int, steps: int, task: str, loss: float) -> None:
        if step == self._at:
            raise KeyboardInterrupt


class Steps(Quiet):
    """The steps that were taken, and whether the folder was locked meanwhile."""

    def __init__(self, output: Path) -> None:
        self.taken: list[int] = []
        self.locked = True
        self._lock = output.with_name(f".{output.name}.lock")

    def step(self, step: int, steps: int, task: str, loss: float) -> None:
        self.taken.append(step)
        with contextlib.suppress(BlockingIOError), self._lock.open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.locked = False


def job(encoder: Path, data: dict[str, str], output: Path, drops: Drops = ANY) -> Job:
    return Job(
        encoder=str(encoder),
        sources=Sources(data["sentiment"], data["ner"], data["qa"]),
        recipe=Recipe(batch_size=4, epochs=1, evaluations=2, learning_rate=1e-3),
        drops=drops,
        output=output,
        max_length=64,
    )


def runs(store: str) -> list[Run]:
    client = MlflowClient(store)
    return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def only_run(store: str) -> Run:
    (found,) = runs(store)
    return found


def test_a_run_leaves_all_that_made_it_and_a_model_to_serve(
    encoder_folder: Path, data: dict[str, str], tmp_path: Path, store: str
) -> None:
    said = run(job(encoder_folder, data, tmp_path / "out"), Quiet())
    assert f"models:/{REGISTERED}@{ALIAS}" in said
    found, client = only_run(store), MlflowClient(store)
    parameters, metrics = found.data.params, found.data.metrics
    assert parameters["seed"] == "42"
    assert parameters["qa_weight"] == "1.0"
    for task in ("sentiment", "ner", "qa"):
        for split in ("train", "validation"):
            assert len(parameters[f"{task}_{split}_sha256"]) == 64
    assert {"version.torch", "version.onnxruntime", "version.python"} <= found.data.tags.keys()
    for name in METRICS:
        assert [entry.step for entry in client.get_metric_history(found.info.run_id, name)] == [3, 6]
        assert f"int8_{name}" in metrics
    assert 0 < metrics["int8_bytes"] < metrics["fp32_bytes"]
    assert metrics["train_loss"] > 0
    file = json.loads(mlflow.artifacts.load_text(f"{found.info.artifact_uri}/metrics/metrics.json"))
    named = (*METRICS, "score")
    assert file.keys() == {*named, *(f"int8_{name}" for name in named), "fp32_bytes", "int8_bytes"}
    assert file["int8_ner_f1"] == metrics["int8_ner_f1"]

    version = client.get_model_version_by_alias(REGISTERED, ALIAS)
    assert version.run_id == found.info.run_id
    logged = mlflow.pyfunc.load_model(f"models:/{REGISTERED}@{ALIAS}")
    assert logged.metadata.signature is not None
    assert logged.metadata.saved_input_example_info is not None
    table = logged.predict(pd.DataFrame({"task": ["sentiment"], "text": ["a b c"]}))
    assert '"sentiment": ' in table["analysis"][0]

    query = Query(("sentiment", "ner"), text="Anna went to Rome")
    served = tmp_path / "out" / "served"
    folder = MultitaskNlp(MultitaskSettings(model_dir=served, threads=1))  # pyright: ignore[reportCallIssue]
    uri = f"models:/{REGISTERED}/1"
    registry = MultitaskNlp(MultitaskSettings(model_uri=uri, threads=1))  # pyright: ignore[reportCallIssue]
    for predictor in (folder, registry):
        predictor.load(lambda _: None)
    assert folder.analyse([query]) == registry.analyse([query])

    (graph,) = (tmp_path / "store").rglob(GRAPH)
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    with pytest.raises(LoadError, match="the checksum differs"):
        registry.load(lambda _: None)


@pytest.mark.timeout(600)
def test_what_make_train_multitask_does_ends_in_a_model_that_is_served(tmp_path: Path, store: str) -> None:
    """The project's made data and encoder, without a network. Six steps teach too little for the gate."""
    options = ["train", "--made", "--max-samples", "48", "--epochs", "1", "--output", str(tmp_path / "out")]
    made = command.job(command.parser().parse_args(options))
    assert f"models:/{REGISTERED}@{ALIAS}" in run(dataclasses.replace(made, drops=ANY), Quiet())
    environment = {
        "QUINTET_MODEL_URI": f"models:/{REGISTERED}@{ALIAS}",
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    with running("predictors.multitask_nlp", environment, seconds=120) as server:
        answer = httpx.post(f"{server.url}/predict/sentiment", json={"text": "What a film!"}, timeout=30)
    assert answer.json()["sentiment"] in ("positive", "negative")


@pytest.mark.parametrize("uri", ["models:/nobody@champion", f"models:/{REGISTERED}/7"])
def test_a_model_that_is_not_registered(store: str, uri: str) -> None:
    with pytest.raises(LoadError, match=f"{uri} could not be fetched from the registry"), fetched(uri):
        pass


def test_a_closed_gate_registers_nothing(
    encoder_folder: Path, data: dict[str, str], tmp_path: Path, store: str
) -> None:
    with pytest.raises(GateClosed, match="sentiment_accuracy falls"):
        run(job(encoder_folder, data, tmp_path / "out", Drops(sentiment_accuracy=-2)), Quiet())
    assert MlflowClient(store).search_registered_models() == []
    assert "int8_score" in only_run(store).data.metrics


def test_new_data_under_the_same_paths_train_anew_and_the_old_go_on(
    encoder_folder: Path, data: dict[str, str], tmp_path: Path, store: str
) -> None:
    output, mine = tmp_path / "out", tmp_path / "mine"
    shutil.copytree(data["sentiment"], mine)
    asked = dataclasses.replace(job(encoder_folder, {**data, "sentiment": str(mine)}, output), register=False)
    with pytest.raises(KeyboardInterrupt):
        run(asked, Stopped(5))
    old = (mine / "train.jsonl").read_text()
    (mine / "train.jsonl").write_text(old.replace("good", "great"))
    steps = Steps(output)
    run(asked, steps)
    assert steps.taken == [1, 2, 3, 4, 5, 6]
    assert len(runs(store)) == 2
    (mine / "train.jsonl").write_text(old)
    again = Steps(output)
    run(asked, again)
    assert again.taken == [4, 5, 6]
    assert [found.info.status for found in runs(store)] == ["FINISHED", "FINISHED"]


def test_with_another_tracking_server_it_goes_on_in_a_run_of_that_one(
    encoder_folder: Path, data: dict[str, str], tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dataclasses.replace(job(encoder_folder, data, tmp_path / "out"), register=False)
    with pytest.raises(KeyboardInterrupt):
        run(asked, Stopped(5))
    other = (tmp_path / "other").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    steps = Steps(asked.output)
    run(asked, steps)
    assert steps.taken == [4, 5, 6]
    assert (only_run(store).info.status, only_run(other).info.status) == ("FAILED", "FINISHED")


def test_the_folder_is_one_run_s_until_it_ends(
    encoder_folder: Path, data: dict[str, str], tmp_path: Path, store: str
) -> None:
    """A Job whose values changed is there before the last one has gone."""
    steps = Steps(tmp_path / "out")
    run(dataclasses.replace(job(encoder_folder, data, tmp_path / "out"), register=False), steps)
    assert steps.taken
    assert steps.locked
    assert not (tmp_path / ".out.lock").exists()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)])
def test_a_killed_process_goes_on_in_the_same_run(
    encoder_folder: Path,
    data: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sent: signal.Signals,
    status: int,
) -> None:
    """Ended while it trains, then the same command again: what comes out is what comes out of one go."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = ["--encoder", str(encoder_folder), "--max-length", "64", "--batch-size", "4", "--epochs", "30"]
    options += [part for task, folder in data.items() for part in (f"--{task}-data", folder)]
    options += ["--evaluations", "9", "--patience", "0", "--no-register", "--output"]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "predictors.multitask_nlp.training", "train", *options, str(killed)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start()
    assert first.stderr is not None
    with contextlib.closing(first.stderr):
        evaluations = (line for line in first.stderr if line.startswith("step "))
        next(evaluations)
        next(evaluations)  # so what the first one found has been kept
        first.send_signal(sent)
        assert first.wait() == status
    second = start()
    _, words = second.communicate()
    assert second.returncode == 0, words
    assert 0 < sum(line.startswith("step ") for line in words.splitlines()) < 9

    run(command.job(command.parser().parse_args(["train", *options, str(whole)])), Quiet())
    ours, expected = (torch.load(folder / WEIGHTS, weights_only=True) for folder in (killed, whole))
    assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    assert only_run((killed / "mlruns").as_uri()).info.status == "FINISHED"
