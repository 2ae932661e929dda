"""How good a set of logits is, by the formulas that serving uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from predictors.prompt_classifier.demo.published import HEADS, TASK_TYPES


def evaluate(logits: Sequence[Tensor], labels: Tensor) -> dict[str, Any]:
    """Top-1 accuracy of every head, of every task type, and how often the right task is among the two
    answers.
    """
    chosen = [head.argmax(-1) for head in logits]
    right = {name: (chosen[index] == labels[:, index]) for index, name in enumerate(HEADS)}
    tasks = labels[:, 0]
    top_two = logits[0].topk(2).indices
    shots = torch.softmax(logits[HEADS.index("number_of_few_shots")], -1) @ torch.arange(6.0)
    return {
        "accuracy": {name: _share(hits) for name, hits in right.items()},
        "task_type_top_2": _share((top_two == tasks.unsqueeze(-1)).any(-1)),
        "few_shots_mean_error": round(
            float((shots - labels[:, HEADS.index("number_of_few_shots")]).abs().mean()), 4
        ),
        "task_accuracy": {
            name: _share(right["task_type"][tasks == index])
            for index, name in enumerate(TASK_TYPES)
            if bool((tasks == index).any())
        },
    }


def table(metrics: dict[str, Any]) -> str:
    """The figures as a person reads them in a terminal."""
    lines = ["head                   held-out top-1"]
    lines += [f"{name:<22} {value:>14.1%}" for name, value in metrics["accuracy"].items()]
    lines += ["", "task type              held-out top-1"]
    lines += [f"{name:<22} {value:>14.1%}" for name, value in metrics["task_accuracy"].items()]
    lines += ["", f"right task among the first two: {metrics['task_type_top_2']:.1%}"]
    lines += [f"few-shot count, mean error: {metrics['few_shots_mean_error']:.2f}"]
    return "\n".join(lines) + "\n"


def _share(hits: Tensor) -> float:
    return round(float(hits.float().mean()), 4)
