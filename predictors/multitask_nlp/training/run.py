"""A training run from its sources to the registered model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from predictors.multitask_nlp.artifact import GRAPH
from predictors.multitask_nlp.engine import Engine
from predictors.multitask_nlp.tasks import TASKS
from predictors.multitask_nlp.tokenizer import TextTokenizer
from predictors.multitask_nlp.training import gate
from predictors.multitask_nlp.training.encoders import load_encoder
from predictors.multitask_nlp.training.evaluation import Metrics, evaluate, reader
from predictors.multitask_nlp.training.examples import Split
from predictors.multitask_nlp.training.export import artifact_files, check_served
from predictors.multitask_nlp.training.features import features
from predictors.multitask_nlp.training.loop import STATE_FORMAT, Observer, Outcome, Recipe, train, write_whole
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.multitask_nlp.training.sources import Sources, digest, load_split
from predictors.multitask_nlp.training.tracking import store_id, tracked
from predictors.runtime.cpus import available_cpus
from predictors.runtime.folders import only_writer, write_checkpoint

WEIGHTS = "model.pt"
"""The best weights as a plain state dict, under the published name."""
_RUN = "run.json"


@dataclass(frozen=True)
class Job:
    encoder: str
    sources: Sources
    recipe: Recipe
    drops: gate.Drops
    output: Path
    """state/ (to go on from, by settings and data), model.pt, served/ (what serving reads), mlruns/ (MLflow's
    default store)."""
    max_length: int = 128
    register: bool = True


class Several:
    """Tells all of its observers."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def step(self, step: int, steps: int, task: str, loss: float) -> None:
        for observer in self._observers:
            observer.step(step, steps, task, loss)

    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None:
        for observer in self._observers:
            observer.evaluated(step, metrics, best)


def run(job: Job, observer: Observer) -> str:
    """Trains, exports, measures what 8 bits cost, and registers; a summary for people.

    Raises NoData, NoEncoder, CannotResume, GateClosed or CannotWrite. A run that was killed goes on where its
    output folder says, in the same MLflow run; of two in one folder the later waits for the end of the other.
    """
    with only_writer(job.output.resolve()):
        return _run(job, observer)


def _run(job: Job, observer: Observer) -> str:
    training, validation = load_split(job.sources, "train"), load_split(job.sources, "validation")
    hashes = {
        f"{task}_{name}_sha256": digest(split.of(task))
        for name, split in (("train", training), ("validation", validation))
        for task in TASKS
    }
    identity = hashlib.sha256(
        json.dumps(
            [STATE_FORMAT, job.encoder, job.max_length, dataclasses.asdict(job.recipe), hashes]
        ).encode()
    ).hexdigest()
    encoder = load_encoder(job.encoder, job.max_length)
    check_served(MultitaskModel(encoder.model), job.encoder, job.max_length)
    torch.manual_seed(job.recipe.seed)
    model = MultitaskModel(encoder.model)
    state = job.output / "state" / identity[:12]
    default_store = job.output / "mlruns"
    store = store_id(default_store)
    with tracked(_parameters(job, hashes), _begun(state, store), default_store) as tracker:
        _remember(state, store, tracker.run_id)
        outcome = train(
            model,
            features(training, encoder.tokenizer),
            job.recipe,
            lambda model: evaluate(reader(model, encoder.pad_id), encoder.tokenizer, validation),
            Several([observer, tracker]),
            folder=state,
            identity=identity,
            pad_id=encoder.pad_id,
        )
        write_whole(job.output / WEIGHTS, outcome.model.state_dict())
        quantised = export(outcome, encoder.tokenizer, validation, job.output, hashes)
        weights, graph = job.output / WEIGHTS, job.output / "served" / GRAPH
        sizes = {"fp32_bytes": weights.stat().st_size, "int8_bytes": graph.stat().st_size}
        tracker.finished(outcome.metrics, quantised, sizes)
        gate.check(outcome.metrics, quantised, job.drops)
        if not job.register:
            return f"written to {job.output}"
        uri = tracker.register(job.output / "served")
        return f"registered as {uri}, written to {job.output}"


def export(
    outcome: Outcome, tokenizer: TextTokenizer, validation: Split, output: Path, hashes: dict[str, str]
) -> Metrics:
    """Writes ``output``/served; the metrics of what it serves."""
    record = {
        "data": hashes,
        "metrics": outcome.metrics.as_dict(),
        "best_step": outcome.best_step,
        "steps": outcome.steps,
    }
    with only_writer(output / "served"):
        write_checkpoint(output / "served", artifact_files(outcome.model, tokenizer, record))
    engine = Engine(output / "served" / GRAPH, available_cpus())
    return evaluate(engine.logits, tokenizer, validation)


def _parameters(job: Job, hashes: dict[str, str]) -> dict[str, object]:
    recipe = dataclasses.asdict(job.recipe)
    weights = recipe.pop("task_weights")
    return {
        "encoder": job.encoder,
        "max_length": job.max_length,
        **recipe,
        **{f"{task}_weight": weight for task, weight in weights.items()},
        **{f"data_{name}": value for name, value in dataclasses.asdict(job.sources).items()},
        **hashes,
    }


def _begun(state: Path, store: str) -> str | None:
    """The MLflow run that a killed training of the very same kind began in this store."""
    try:
        known = json.loads((state / _RUN).read_text())
    except (OSError, ValueError):
        return None
    return known["run"] if known["store"] == store else None


def _remember(state: Path, store: str, run_id: str) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / _RUN).write_text(json.dumps({"store": store, "run": run_id}))
