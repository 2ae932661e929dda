"""The command line: what is said there goes first, then the original's variables, then the recipe."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from predictors.multitask_nlp.training.__main__ import _Bar, job, main, parser
from predictors.multitask_nlp.training.made.recipe import ENCODER, made_recipe
from predictors.multitask_nlp.training.run import Job
from predictors.multitask_nlp.training.sources import MADE, Sources
from predictors.multitask_nlp.training.tracking import EXPERIMENT, NoTracking, store_id, tracked
from tests.support.multitask_nlp import LENGTH, other_encoder, write_encoder


def asked(*options: str) -> Job:
    return job(parser().parse_args(["train", "--output", "x", *options]))


def test_by_default_it_is_what_was_published() -> None:
    found = asked()
    assert found.encoder == "distilbert-base-uncased"
    assert found.sources == Sources("nyu-mll/glue:sst2", "lhoestq/conll2003", "rajpurkar/squad", 10_000, 42)
    assert found.max_length == 128
    assert dataclasses.asdict(found.recipe) == {
        "batch_size": 16,
        "learning_rate": 2e-5,
        "weight_decay": 0.01,
        "warmup": 0.1,
        "clip": 1.0,
        "epochs": 3,
        "task_weights": {"sentiment": 1, "ner": 1, "qa": 1},
        # The original had no seed, no such choices, and one evaluation at its end.
        "seed": 42,
        "heads_rate": 1,
        "frozen_layers": 0,
        "bf16": False,
        "evaluations": 3,
        "patience": 2,
    }


def test_the_originals_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MODEL_NAME": "other",
        "EPOCHS": "1",
        "MAX_SEQ_LENGTH": "64",
        "MAX_SAMPLES": "100",
        "BATCH_SIZE": "8",
        "LEARNING_RATE": "5e-5",
    }.items():
        monkeypatch.setenv(name, value)
    found = asked("--batch_size", "4")
    assert (found.encoder, found.max_length, found.sources.max_samples) == ("other", 64, 100)
    assert (found.recipe.epochs, found.recipe.learning_rate) == (1, 5e-5)
    assert found.recipe.batch_size == 4


@pytest.mark.parametrize("named", [None, "mine"])
def test_the_originals_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store := tmp_path.as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    if named is not None:
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", named)
    with tracked({}, None, tmp_path / "unused") as tracker:
        pass
    from mlflow import MlflowClient  # only now: tracked() says how it is to behave

    client = MlflowClient(store)
    experiment = client.get_experiment(client.get_run(tracker.run_id).info.experiment_id)
    assert experiment.name == (named or EXPERIMENT)


def test_made_data_bring_their_recipe_and_what_is_said_changes_it() -> None:
    assert (asked("--made").encoder, asked("--made").recipe) == (ENCODER, made_recipe(42))
    found = asked("--made", "--epochs", "1", "--qa-weight", "2", "--ner-data", "mine")
    assert (found.recipe.epochs, found.recipe.batch_size) == (1, made_recipe(42).batch_size)
    assert found.recipe.task_weights == {"sentiment": 1, "ner": 1, "qa": 2}
    assert (found.sources.sentiment, found.sources.ner) == (MADE, "mine")


@pytest.mark.parametrize(
    "options",
    [
        ["--batch-size", "0"],
        ["--epochs", "many"],
        ["--epochs", "nan"],
        ["--epochs", "-1"],
        ["--learning-rate", "0"],
        ["--learning-rate", "inf"],
        ["--max-samples", "-1"],
        ["--patience", "-1"],
        ["--seed", "-1"],
        ["--qa-weight", "-1"],
    ],
)
def test_a_value_that_makes_no_sense(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked(*options)
    assert f"argument {options[0]}" in capsys.readouterr().err


def test_progress_has_a_rate_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter((0.0, 1.0, 11.0))
    monkeypatch.setattr("predictors.runtime.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with _Bar() as bar:
        bar.step(10, 100, "ner", 0.5)
        bar.step(30, 100, "qa", 0.5)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "multitask_nlp training: training, step 10/100"
    assert second == "multitask_nlp training: training, step 30/100, 2.0/s, 35 s left"


def test_an_error_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        status = main(["train", "--made", "--output", str(tmp_path / "x"), "--ner-data", str(tmp_path)])
    finally:
        signal.signal(signal.SIGTERM, handler)
    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith(f"error: {tmp_path}/train.jsonl cannot be read")
    assert len(error.splitlines()) == 1


def test_an_encoder_that_cannot_be_served_is_one_sentence_before_anything_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_encoder(tmp_path / "encoder", other_encoder("fnet"))
    options = ["--made", "--encoder", str(tmp_path / "encoder"), "--max-length", str(LENGTH)]
    handler = signal.getsignal(signal.SIGTERM)
    try:
        status = main(["train", *options, "--output", str(tmp_path / "x")])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert status == 1
    assert "cannot be served" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_a_tracking_server_that_there_is_not_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")
    sentence = r"^MLflow failed at the server of MLFLOW_TRACKING_URI: .+\.$"
    with pytest.raises(NoTracking, match=sentence), tracked({}, None, tmp_path):
        raise AssertionError("there is nowhere to tell it")


def test_a_run_that_its_store_has_lost_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sentence = "MLflow failed at file:.*: Run '0123' not found"
    with pytest.raises(NoTracking, match=sentence), tracked({}, "0123", tmp_path):
        raise AssertionError("there is nowhere to tell it")


def test_a_store_of_files_that_fails_is_one_sentence_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow lets through what requests raises there, with the whole address."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    failed = requests.HTTPError("500 Server Error for url: http://me:hunter2@host:5000/api/files")
    sentence = r"^MLflow failed at .*: 500 Server Error for url: http://host:5000/api/files\.$"
    with pytest.raises(NoTracking, match=sentence), tracked({}, None, tmp_path / "runs"):
        raise failed


def test_a_full_disk_is_not_mlflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(OSError, match="no room"), tracked({}, None, tmp_path / "runs"):
        raise OSError("no room")


def test_a_store_is_known_again_by_another_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"MLFLOW_TRACKING_URI": "http://me:hunter2@host"})
    known = store_id(tmp_path)
    monkeypatch.setattr("os.environ", {"MLFLOW_TRACKING_URI": "http://me:hunter3@host"})
    assert store_id(tmp_path) == known
    monkeypatch.setattr("os.environ", {"MLFLOW_TRACKING_URI": "http://me:hunter3@other"})
    assert store_id(tmp_path) != known
