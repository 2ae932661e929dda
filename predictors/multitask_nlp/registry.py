"""Weights from an MLflow model registry, fetched once at start."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictors.multitask_nlp.artifact import MANIFEST
from predictors.runtime.errors import LoadError


def prepare_mlflow() -> None:
    """Call before MLflow is imported: a folder may be a registry, nothing is sent home, logs have no bars."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def reason(error: Exception) -> str:
    """MLflow's first line, without the name and password that its server's address may hold."""
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"//[^/@\s]*@", "//", first).rstrip(".")


@contextmanager
def fetched(uri: str) -> Iterator[Path]:
    """The served folder of ``models:/name@alias`` or ``models:/name/version``, which is gone afterwards.

    MLFLOW_TRACKING_URI (or MLFLOW_REGISTRY_URI) names the registry. Raises LoadError.
    """
    prepare_mlflow()
    # Only now: most predictors read a folder and should not pay for the import.
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="multitask_nlp-") as target:
        try:
            model = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=target))
        except (MlflowException, OSError) as error:
            raise LoadError(f"{uri} could not be fetched from the registry: {reason(error)}.") from None
        except ImportError as error:  # MLflow imports a store's client when it meets such an address
            raise LoadError(
                f"{uri} could not be fetched from the registry: its files are in a store whose client is not"
                f" installed here ({error.name or error}); add it, or serve the folder itself (STORAGE_URI)."
            ) from None
        # Its manifest has the checksums of all the rest.
        found = sorted(model.rglob(MANIFEST))
        if not found:
            raise LoadError(f"{uri} holds no {MANIFEST}; is it a model that our training registered?")
        yield found[0].parent
