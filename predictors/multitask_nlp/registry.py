"""Weights from an MLflow model registry, fetched once at start."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from predictors.multitask_nlp.artifact import GRAPH
from predictors.runtime.errors import LoadError

ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
"""Without it MLflow refuses a registry that is a folder."""


def fetch(uri: str) -> Path:
    """The artifact's folder of ``models:/name@alias`` or ``models:/name/version``, in a new temporary folder.

    MLFLOW_TRACKING_URI (or MLFLOW_REGISTRY_URI) names the registry. Raises LoadError.
    """
    # Only now: most predictors read a folder and should not pay for the import.
    os.environ.setdefault(ALLOW_FILES, "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    target = Path(tempfile.mkdtemp(prefix="multitask_nlp-"))
    try:
        fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target)))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise LoadError(f"{uri} could not be fetched from the registry: {reason}.") from None
    found = sorted(fetched.rglob(GRAPH))
    if not found:
        raise LoadError(f"{uri} holds no {GRAPH}; is it a model that our training registered?")
    return found[0].parents[1]
