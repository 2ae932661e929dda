"""Addresses of MLflow without their passwords; a store that MLflow cannot reach with what is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from predictors.multitask_nlp.registry import prepare_mlflow, reason, without_login

FETCH = """
from predictors.multitask_nlp.registry import fetched
with fetched("models:/multitask_nlp/1"):
    pass
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """In place of the process's own."""
    found: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", found)
    return found


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://me:hunter2@host:5000/path", ("http://host:5000/path", ("me", "hunter2"))),
        ("https://me%40corp:p%40ss%3Aw%2Frd@host", ("https://host", ("me@corp", "p@ss:w/rd"))),
        ("http://me:p@ss:word@host", ("http://host", ("me", "p@ss:word"))),
        ("http://me@host", ("http://host", ("me", ""))),
        ("HTTP://me:hunter2@[::1]:5000", ("http://[::1]:5000", ("me", "hunter2"))),
        ("http://host/path@1", ("http://host/path@1", ("", ""))),
        ("postgresql://me:hunter2@host/db", ("postgresql://me:hunter2@host/db", ("", ""))),
        ("file:///runs@home", ("file:///runs@home", ("", ""))),
        ("http://[me@host", ("http://[me@host", ("", ""))),
        ("", ("", ("", ""))),
    ],
)
def test_an_address_and_its_login(address: str, expected: tuple[str, tuple[str, str]]) -> None:
    assert without_login(address) == expected


def test_a_login_goes_where_mlflow_looks_for_it(environment: dict[str, str]) -> None:
    environment |= {
        "MLFLOW_TRACKING_URI": "http://me:hunter2@host",
        "MLFLOW_REGISTRY_URI": "http://me:hunter2@registry",
    }
    for _ in range(2):
        prepare_mlflow()
        assert environment["MLFLOW_TRACKING_URI"] == "http://host"
        assert environment["MLFLOW_REGISTRY_URI"] == "http://registry"
        assert environment["MLFLOW_TRACKING_USERNAME"] == "me"
        assert environment["MLFLOW_TRACKING_PASSWORD"] == "hunter2"


def test_a_name_in_the_address_goes_with_a_password_that_is_set(environment: dict[str, str]) -> None:
    environment |= {"MLFLOW_TRACKING_URI": "http://me@host", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    prepare_mlflow()
    assert environment["MLFLOW_TRACKING_URI"] == "http://host"
    assert environment["MLFLOW_TRACKING_USERNAME"] == "me"


def test_a_registry_with_a_login_of_its_own_keeps_it(environment: dict[str, str]) -> None:
    environment |= {
        "MLFLOW_TRACKING_URI": "http://me:hunter2@host",
        "MLFLOW_REGISTRY_URI": "http://you:hunter3@registry",
    }
    prepare_mlflow()
    assert environment["MLFLOW_TRACKING_URI"] == "http://host"
    assert environment["MLFLOW_REGISTRY_URI"] == "http://you:hunter3@registry"


@pytest.mark.parametrize("login", ["me:hunter2@", "me@corp:hunter2@", "me:hun@ter2@"])
def test_a_reason_has_no_login(login: str) -> None:
    error = Exception(f"500 for url http://{login}host/api and for postgresql://{login}host/db.\nTraceback")
    assert reason(error) == "500 for url http://host/api and for postgresql://host/db"


@pytest.mark.slow  # MLflow takes seconds to import
def test_a_store_whose_client_is_missing_is_named(tmp_path: Path) -> None:
    """In a process of its own, as it is served: MLflow keeps in a process where it was told to look."""
    assert importlib.util.find_spec("boto3") is None, "the locks have no client of S3"
    prepare_mlflow()
    from mlflow import MlflowClient

    uri = (tmp_path / "store").as_uri()
    client = MlflowClient(uri, uri)
    client.create_registered_model("multitask_nlp")
    client.create_model_version("multitask_nlp", "s3://bucket/model")
    environ = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    run = subprocess.run(
        [sys.executable, "-c", FETCH], env=environ, capture_output=True, text=True, check=False
    )
    *_, last = run.stderr.strip().splitlines()
    sentence = r"LoadError: models:/multitask_nlp/1 could not be fetched .* \(botocore\); add it"
    assert re.search(sentence, last), run.stderr
