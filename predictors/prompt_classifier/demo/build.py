"""From a recipe to the checkpoint's files, in memory."""

from __future__ import annotations

import dataclasses
import json
import platform
import time

import safetensors
import tokenizers
import torch
import transformers
from safetensors.torch import save

from predictors.prompt_classifier.demo import FORMAT_VERSION, evaluation
from predictors.prompt_classifier.demo.published import config_json
from predictors.prompt_classifier.demo.tokenizer import tokenizer_files
from predictors.prompt_classifier.demo.train import Recipe, Trained, train
from predictors.runtime.progress import Report

QUICK = Recipe(
    prompts=800, heldout=200, tokenizer_texts=800, vocab_size=1_500, hidden=64, layers=2, intermediate=128
)


def build(report: Report, *, quick: bool) -> tuple[dict[str, bytes], str]:
    """The files by name, and the evaluation as text."""
    recipe = QUICK if quick else Recipe()
    begun = time.monotonic()
    trained = train(recipe, report)
    seconds = round(time.monotonic() - begun, 1)
    report("writing the files", 0, 1)
    size = sum(parameter.numel() for parameter in trained.model.parameters())
    summary = f"{recipe.prompts} prompts, {size} parameters, {seconds} s"
    return _files(trained, recipe, seconds), evaluation.table(trained.metrics) + summary


def _files(trained: Trained, recipe: Recipe, seconds: float) -> dict[str, bytes]:
    weights = {name: tensor.contiguous() for name, tensor in trained.model.state_dict().items()}
    record = {
        "format_version": FORMAT_VERSION,
        "heldout": "wordings of no training prompt, split by position; the words in their slots are shared",
        "recipe": dataclasses.asdict(recipe),
        "metrics": trained.metrics,
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "seconds": seconds,
        "versions": {
            "python": platform.python_version(),
            "safetensors": safetensors.__version__,
            "tokenizers": tokenizers.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    return {
        "config.json": _json(config_json()),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        **tokenizer_files(trained.tokenizer),
        "eval.json": _json(record),
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
