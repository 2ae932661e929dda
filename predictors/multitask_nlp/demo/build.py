"""From a recipe to the checkpoint's files, in memory."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path

import torch

from predictors.multitask_nlp.artifact import GRAPH
from predictors.multitask_nlp.demo import FORMAT_VERSION
from predictors.multitask_nlp.engine import Engine
from predictors.multitask_nlp.training.encoders import load_encoder
from predictors.multitask_nlp.training.evaluation import Metrics, evaluate, reader
from predictors.multitask_nlp.training.export import artifact_files, export_int8
from predictors.multitask_nlp.training.features import features
from predictors.multitask_nlp.training.loop import train
from predictors.multitask_nlp.training.made.recipe import ENCODER, MAX_LENGTH, made_recipe
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.multitask_nlp.training.sources import MADE, Sources, load_split
from predictors.runtime.cpus import available_cpus
from predictors.runtime.progress import Report

SEED = 20
QUICK_SAMPLES = 32


class _Reporting:
    def __init__(self, report: Report) -> None:
        self._report = report

    def step(self, step: int, steps: int, task: str, loss: float) -> None:  # noqa: ARG002
        self._report("training", step, steps)

    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None:
        pass


def build(report: Report, *, quick: bool) -> tuple[dict[str, bytes], str]:
    """The files by name, and how good it is, as text."""
    recipe = made_recipe(SEED, epochs=1.0 if quick else 3.0)
    sources = Sources(MADE, MADE, MADE, max_samples=QUICK_SAMPLES if quick else 10_000, seed=SEED)
    begun, processor_begun = time.monotonic(), time.process_time()
    report("reading the encoder", 0, 1)
    encoder = load_encoder(ENCODER, MAX_LENGTH)
    torch.manual_seed(recipe.seed)
    validation = load_split(sources, "validation")
    outcome = train(
        MultitaskModel(encoder.model),
        features(load_split(sources, "train"), encoder.tokenizer),
        recipe,
        lambda model: evaluate(reader(model, encoder.pad_id), encoder.tokenizer, validation),
        _Reporting(report),
        pad_id=encoder.pad_id,
    )
    report("measuring the quantised graph", 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / Path(GRAPH).name
        export_int8(outcome.model, graph)
        quantised = evaluate(Engine(graph, available_cpus()).logits, encoder.tokenizer, validation)
    seconds = round(time.monotonic() - begun, 1)
    processor_seconds = round(time.process_time() - processor_begun, 1)
    record = {
        "demo_version": FORMAT_VERSION,
        "encoder": ENCODER,
        "held_out": "wordings of no training example; the names that fill them are shared",
        "recipe": {**dataclasses.asdict(recipe), "sources": dataclasses.asdict(sources)},
        "metrics": _rounded(outcome.metrics),
        "metrics_int8": _rounded(quantised),
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "transformers", "onnx", "openvino")},
        },
    }
    files = artifact_files(outcome.model, encoder.tokenizer, record)
    took = f"{outcome.steps} steps, {seconds} s, {processor_seconds} s of processors"
    return files, _table(outcome.metrics, quantised) + took


def _rounded(metrics: Metrics) -> dict[str, float]:
    return {name: round(value, 4) for name, value in metrics.as_dict().items()}


def _table(exact: Metrics, quantised: Metrics) -> str:
    """The figures as a person reads them in a terminal."""
    lines = [f"{'held out':<20}{'fp32':>8}{'int8':>8}"]
    for name, value in exact.as_dict().items():
        scale = 1 if name.startswith("qa_") else 100
        lines.append(f"{name:<20}{scale * value:>8.1f}{scale * getattr(quantised, name):>8.1f}")
    return "\n".join(lines) + "\n"
