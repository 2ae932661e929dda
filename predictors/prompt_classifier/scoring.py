"""From the heads' logits to the published fields: formulas, ranges and rounding are NVIDIA's.

Source: the model card and the reference code in NeMo Curator (prompt_task_complexity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TARGETS: Mapping[str, int] = {
    "task_type": 12,
    "creativity_scope": 3,
    "reasoning": 2,
    "contextual_knowledge": 2,
    "number_of_few_shots": 6,
    "domain_knowledge": 4,
    "no_label_reason": 1,
    "constraint_ct": 2,
}
"""Head N of the checkpoint is the N-th target here, with that many classes.

The order is pinned because config.json cannot be trusted with it: a re-saved config sorts ``target_sizes``
by name, and heads built from it in that order would be silently permuted."""

COMPLEXITY = {
    "creativity_scope": 0.35,
    "reasoning": 0.25,
    "constraint_ct": 0.15,
    "domain_knowledge": 0.15,
    "contextual_knowledge": 0.05,
    "number_of_few_shots": 0.05,
}
"""Weights of the complexity score. They sum to 1, but few shots reach 5: the range is 0 to 1.2."""

SECOND_TASK_THRESHOLD = 0.1
FEW_SHOTS_THRESHOLD = 0.05


@dataclass(frozen=True)
class ScoringConfig:
    """What of config.json the scores need; the rest of that file is an artefact of its history."""

    task_type_map: tuple[str, ...]
    """Names of the twelve task types, by class index."""
    weights: Mapping[str, tuple[float, ...]]
    """Per target but ``task_type``: the weight of each class in the score."""
    divisors: Mapping[str, float]
    """Per target but ``task_type``: what the weighted sum is divided by."""


@dataclass(frozen=True, slots=True)
class Classification:
    task_type_1: str
    task_type_2: str
    """``NA`` below a probability of 0.1."""
    task_type_prob: float
    creativity_scope: float
    reasoning: float
    contextual_knowledge: float
    prompt_complexity_score: float
    """0 to 1.2."""
    domain_knowledge: float
    number_of_few_shots: float
    """0 to 5, not whole; 0 below 0.05."""
    no_label_reason: float
    """Always 0: its head has one class of weight 0."""
    constraint_ct: float
    truncated: bool


def classify(logits: np.ndarray, truncated: bool, config: ScoringConfig) -> Classification:
    """One prompt's fields from its logits: [32] fp32, the heads in the order of ``TARGETS``."""
    probabilities = _split(logits)
    scores = {
        name: _score(probabilities[name], weights, config.divisors[name])
        for name, weights in config.weights.items()
    }
    if scores["number_of_few_shots"] < FEW_SHOTS_THRESHOLD:
        scores["number_of_few_shots"] = 0.0
    complexity = round(sum(weight * scores[name] for name, weight in COMPLEXITY.items()), 5)
    tasks = probabilities["task_type"]
    first, second = np.argsort(-tasks, kind="stable")[:2]
    second_probability = round(float(tasks[second]), 3)
    return Classification(
        task_type_1=config.task_type_map[first],
        task_type_2="NA" if second_probability < SECOND_TASK_THRESHOLD else config.task_type_map[second],
        task_type_prob=round(float(tasks[first]), 3),
        prompt_complexity_score=complexity,
        truncated=truncated,
        **scores,
    )


def _split(logits: np.ndarray) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(TARGETS.values()))
    return {name: _softmax(part) for name, part in zip(TARGETS, np.split(logits, ends[:-1]), strict=True)}


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _score(probabilities: np.ndarray, weights: Sequence[float], divisor: float) -> float:
    return round(float(np.dot(probabilities.astype(np.float64), weights)) / divisor, 4)
