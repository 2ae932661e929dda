from __future__ import annotations

from dataclasses import replace

import pytest

from predictors.prompt_classifier.agreement import disagreement
from predictors.prompt_classifier.check_weights import GOLDEN
from predictors.prompt_classifier.scoring import Classification
from predictors.runtime.errors import Internal

EXACT = Classification(**GOLDEN, truncated=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "agrees"),
    [
        ({}, True),
        ({"reasoning": EXACT.reasoning + 0.029}, True),
        ({"reasoning": EXACT.reasoning + 0.031}, False),
        ({"number_of_few_shots": 0.14}, True),
        ({"number_of_few_shots": 0.16}, False),
        ({"task_type_1": "Rewrite"}, False),
    ],
)
def test_small_differences_are_the_price_of_eight_bits_and_large_ones_are_not(
    change: dict, agrees: bool
) -> None:
    assert (disagreement([EXACT, replace(EXACT, **change)], [EXACT, EXACT]) is None) is agrees


def test_a_tie_may_fall_either_way() -> None:
    exact = replace(EXACT, task_type_1="Open QA", task_type_2="Chatbot", task_type_prob=0.5)
    other = replace(exact, task_type_1="Chatbot", task_type_2="Open QA")
    assert disagreement([other], [exact]) is None
    assert disagreement([replace(other, task_type_prob=0.9)], [exact]) is not None


def test_an_engine_without_an_answer_does_not_agree() -> None:
    assert disagreement([Internal("not finite")], [EXACT]) == "prompt 0 has no finite answer"
