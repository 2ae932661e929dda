"""Weights from a registry whose files are in a store that MLflow cannot reach with what is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from predictors.multitask_nlp.registry import fetched, prepare_mlflow
from predictors.runtime.errors import LoadError


@pytest.mark.slow  # MLflow takes seconds to import
def test_a_store_whose_client_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.util.find_spec("boto3") is None, "the locks have no client of S3"
    prepare_mlflow()
    from mlflow import MlflowClient

    uri = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri, uri)
    client.create_registered_model("multitask_nlp")
    client.create_model_version("multitask_nlp", "s3://bucket/model")
    sentence = r"models:/multitask_nlp/1 could not be fetched .* \(botocore\); add it"
    with pytest.raises(LoadError, match=sentence), fetched("models:/multitask_nlp/1"):
        pass
