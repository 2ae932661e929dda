"""What MLflow is told of a run: parameters, losses, metrics, data, environment, and the model itself."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from predictors.multitask_nlp.registry import prepare_mlflow, reason
from predictors.multitask_nlp.training.evaluation import Metrics

EXPERIMENT = "multitask_nlp_experiment"
REGISTERED = "multitask_nlp"
ALIAS = "champion"
LOSS_EVERY = 20
"""Steps between two losses that are logged: each is the mean of those in between."""

_PACKAGE = Path(__file__).parents[2]
"""predictors/, which the logged model brings along: it runs without a checkout."""
_LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "tokenizers", "numpy")
_SERVING = (
    *("openvino", "tokenizers", "numpy", "orjson", "fastapi", "pydantic", "pydantic-settings"),
    *("prometheus-client", "grpcio", "pandas"),
)
_EXAMPLE = {
    "task": ["sentiment,ner", "qa"],
    "text": ["Anna Lind was delighted with the hotel in Lisbon.", ""],
    "question": ["", "What is MLflow?"],
    "context": ["", "MLflow is an open source platform for the machine learning lifecycle."],
}


class NoTracking(Exception):
    """MLflow cannot be told; one sentence."""


class Tracker:
    """One run in MLflow; an observer of the training loop."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._losses: dict[str, list[float]] = {}

    def step(self, step: int, steps: int, task: str, loss: float) -> None:
        import mlflow

        self._losses.setdefault(task, []).append(loss)
        if step % LOSS_EVERY and step != steps:
            return
        every = [value for values in self._losses.values() for value in values]
        means = {f"train_loss_{task}": sum(v) / len(v) for task, v in self._losses.items()}
        mlflow.log_metrics({"train_loss": sum(every) / len(every), **means}, step=step)
        self._losses.clear()

    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None:  # noqa: ARG002
        import mlflow

        mlflow.log_metrics(metrics.as_dict(), step=step)

    def finished(self, exact: Metrics, quantised: Metrics, sizes: Mapping[str, int]) -> None:
        """The best weights' metrics before and after 8 bits: both as a file, as the original had it."""
        import mlflow

        in_8_bits = {f"int8_{name}": value for name, value in quantised.as_dict().items()}
        mlflow.log_metrics({**in_8_bits, **sizes})
        mlflow.log_dict({**exact.as_dict(), **in_8_bits, **sizes}, "metrics/metrics.json")

    def register(self, folder: Path) -> str:
        """The served folder as a new version of the registered model, which the alias then names; its URI."""
        import mlflow
        import mlflow.pyfunc
        import pandas as pd
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, Schema

        inputs = Schema([ColSpec(DataType.string, name, required=name == "task") for name in _EXAMPLE])
        outputs = Schema([ColSpec(DataType.string, "analysis")])
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("logged_model.py")),
            artifacts={"checkpoint": str(folder)},
            code_paths=[str(_PACKAGE)],
            signature=ModelSignature(inputs=inputs, outputs=outputs),
            input_example=pd.DataFrame(_EXAMPLE),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in _SERVING],
            registered_model_name=REGISTERED,
        )
        version = str(logged.registered_model_version)
        mlflow.MlflowClient().set_registered_model_alias(REGISTERED, ALIAS, version)
        return f"models:/{REGISTERED}@{ALIAS} (version {version})"


def store_id(default_store: Path) -> str:
    """By which a run's store is known again, whoever logs in there; a hash, since a database's address may
    hold a password."""
    prepare_mlflow()
    return hashlib.sha256(_store(default_store).encode()).hexdigest()


@contextmanager
def tracked(parameters: Mapping[str, Any], resumed: str | None, default_store: Path) -> Iterator[Tracker]:
    """A new run, or the one a resumed training began. The store is MLFLOW_TRACKING_URI or a folder.

    Raises NoTracking when MLflow does not take it, then or later.
    """
    prepare_mlflow()
    import mlflow
    import requests
    from mlflow.exceptions import MlflowException

    server = os.environ.get("MLFLOW_TRACKING_URI")  # before MLflow sets it itself
    store = _store(default_store)
    try:
        mlflow.set_tracking_uri(store)
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
        with mlflow.start_run(run_id=resumed) as run:
            if resumed is None:
                mlflow.log_params(dict(parameters))
                mlflow.set_tags({f"version.{name}": metadata.version(name) for name in _LIBRARIES})
                mlflow.set_tags({"version.python": platform.python_version(), "machine": platform.machine()})
            yield Tracker(run.info.run_id)
    except (MlflowException, requests.RequestException) as error:  # the latter from its store of files
        where = "the server of MLFLOW_TRACKING_URI" if server else store  # its address may hold a password
        raise NoTracking(f"MLflow failed at {where}: {reason(error)}.") from None


def _store(default_store: Path) -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or default_store.resolve().as_uri()
