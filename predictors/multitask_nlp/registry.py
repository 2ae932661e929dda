"""Weights from an MLflow model registry, fetched once at start."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from predictors.multitask_nlp.artifact import MANIFEST
from predictors.runtime.errors import LoadError

_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""MLflow has one login for both."""


def prepare_mlflow() -> None:
    """Call before MLflow is imported and before its addresses are read; twice is as good as once.

    A folder may be a registry, nothing is sent home, logs have no bars. Name and password go from servers'
    addresses, which MLflow prints and puts into its errors, to the variables it has for them.
    """
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for variable in _ADDRESSES:
        address, login = without_login(os.environ.get(variable, ""))
        said = {name: value for name, value in zip(_LOGIN, login, strict=True) if value}
        # Another login than is set already stays where it is: the one in the address is what counts.
        if said and said.items() <= {**said, **os.environ}.items():
            os.environ.update(said)
            os.environ[variable] = address


def without_login(address: str) -> tuple[str, tuple[str, str]]:
    """A server's address without its name and password, and these two, empty where it has none.

    The address of a database or a folder stays as it is: there is no other place for what it holds.
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # no address at all: MLflow says so
        return address, ("", "")
    login, at, place = parts.netloc.rpartition("@")
    if not at or parts.scheme.lower() not in ("http", "https"):
        return address, ("", "")
    name, _, password = login.partition(":")
    return urlunsplit(parts._replace(netloc=place)), (unquote(name), unquote(password))


def reason(error: Exception) -> str:
    """MLflow's first line, without the name and password that an address in it may hold."""
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"//[^/\s]*@", "//", first).rstrip(".")


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
