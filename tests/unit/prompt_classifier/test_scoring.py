"""The published formulas, ranges and rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from predictors.prompt_classifier.scoring import TARGETS, Classification, ScoringConfig, classify
from tests.support.checkpoints import published_config

PUBLISHED = published_config()
CONFIG = ScoringConfig(
    task_type_map=tuple(PUBLISHED["task_type_map"].values()),  # type: ignore[union-attr]
    weights={k: tuple(map(float, v)) for k, v in PUBLISHED["weights_map"].items()},  # type: ignore[union-attr]
    divisors={k: float(v) for k, v in PUBLISHED["divisor_map"].items()},  # type: ignore[union-attr]
)


def scored(**probabilities: list[float]) -> Classification:
    """A prompt whose heads give these probabilities; the heads not named are sure of class 0."""
    parts = []
    for name, size in TARGETS.items():
        given = probabilities.get(name, [1.0] + [0.0] * (size - 1))
        assert len(given) == size
        parts.append(np.log(np.maximum(np.array(given, np.float32), 1e-30)))
    return classify(np.concatenate(parts), False, CONFIG)


def test_the_published_golden_values_follow_from_their_parts() -> None:
    """The model card's example: a Python script with a for loop."""
    result = scored(
        task_type=[0, 0, 0, 0, 0.767, 0, 0, 0, 0, 0, 0.233, 0],
        creativity_scope=[0.0, 0.165, 0.835],
        reasoning=[0.9368, 0.0632],
        contextual_knowledge=[0.9441, 0.0559],
        domain_knowledge=[0.9803, 0.0, 0.0, 0.0197],
        constraint_ct=[0.5586, 0.4414],
    )
    assert (result.task_type_1, result.task_type_2, result.task_type_prob) == (
        "Code Generation",
        "Text Generation",
        0.767,
    )
    assert result.creativity_scope == 0.0825
    assert result.reasoning == 0.0632
    assert result.contextual_knowledge == 0.0559
    assert result.domain_knowledge == 0.9803
    assert result.constraint_ct == 0.5586
    assert result.number_of_few_shots == 0
    assert result.no_label_reason == 0
    assert result.prompt_complexity_score == pytest.approx(0.278305, abs=1.1e-5)


def test_the_second_published_example() -> None:
    result = scored(
        creativity_scope=[0.867, 0.0, 0.133],
        reasoning=[0.944, 0.056],
        contextual_knowledge=[0.952, 0.048],
        domain_knowledge=[0.226, 0.0, 0.0, 0.774],
        constraint_ct=[0.785, 0.215],
    )
    assert result.prompt_complexity_score == pytest.approx(0.4715, abs=1e-4)


@pytest.mark.parametrize(
    ("target", "probabilities", "expected"),
    [
        ("creativity_scope", [0.5, 0.3, 0.2], (2 * 0.5 + 0.3) / 2),
        ("domain_knowledge", [0.1, 0.2, 0.3, 0.4], (3 * 0.1 + 0.2 + 2 * 0.3) / 3),
        ("reasoning", [0.25, 0.75], 0.75),
        ("contextual_knowledge", [0.25, 0.75], 0.75),
        ("constraint_ct", [0.25, 0.75], 0.25),
        ("number_of_few_shots", [0, 0, 0.5, 0, 0, 0.5], 3.5),
    ],
)
def test_each_score_is_the_weighted_mean_of_its_classes(
    target: str, probabilities: list[float], expected: float
) -> None:
    assert getattr(scored(**{target: probabilities}), target) == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize(
    ("expectation", "shown"), [(0.04, 0.0), (0.049, 0.0), (0.05, 0.05), (0.4, 0.4), (2.5, 2.5)]
)
def test_few_shots_are_a_float_and_zero_below_a_twentieth(expectation: float, shown: float) -> None:
    probabilities = [1 - expectation / 5, 0, 0, 0, 0, expectation / 5]
    assert scored(number_of_few_shots=probabilities).number_of_few_shots == pytest.approx(shown, abs=5.1e-5)


@pytest.mark.parametrize(("second", "shown"), [(0.0994, "NA"), (0.0996, "Chatbot"), (0.3, "Chatbot")])
def test_a_second_task_below_a_tenth_is_not_one(second: float, shown: str) -> None:
    """Compared after rounding to three decimals, as published."""
    assert scored(task_type=[1 - second, second] + [0.0] * 10).task_type_2 == shown


def test_the_most_complex_prompt_scores_1_2() -> None:
    """The weights sum to 1, but few shots reach 5."""
    most = scored(
        creativity_scope=[1, 0, 0],
        reasoning=[0, 1],
        contextual_knowledge=[0, 1],
        number_of_few_shots=[0, 0, 0, 0, 0, 1],
        domain_knowledge=[1, 0, 0, 0],
        constraint_ct=[1, 0],
    )
    assert most.prompt_complexity_score == 1.2


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, 32, elements=st.floats(-80, 80, width=32)))
def test_every_field_stays_in_its_range(logits: np.ndarray) -> None:
    result = classify(logits, True, CONFIG)
    assert result.task_type_1 in CONFIG.task_type_map
    assert result.task_type_2 in (*CONFIG.task_type_map, "NA")
    assert 1 / 12 - 0.001 <= result.task_type_prob <= 1
    for name in (
        "creativity_scope",
        "reasoning",
        "contextual_knowledge",
        "domain_knowledge",
        "constraint_ct",
    ):
        assert 0 <= getattr(result, name) <= 1
    assert 0 <= result.number_of_few_shots <= 5
    assert result.no_label_reason == 0.0
    assert 0 <= result.prompt_complexity_score <= 1.2
    assert result.truncated
