"""Weights from a registry whose files are in a store that MLflow cannot reach with what is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FETCH = """
from predictors.multitask_nlp.registry import fetched
with fetched("models:/multitask_nlp/1"):
    pass
"""


@pytest.mark.slow  # MLflow takes seconds to import
def test_a_store_whose_client_is_missing_is_named(tmp_path: Path) -> None:
    """In a process of its own, as it is served: MLflow keeps in a process where it was told to look."""
    assert importlib.util.find_spec("boto3") is None, "the locks have no client of S3"
    from predictors.multitask_nlp.registry import prepare_mlflow

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
