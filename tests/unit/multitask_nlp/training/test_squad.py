"""The SQuAD script's measures, on cases worked out by hand."""

from __future__ import annotations

import pytest

from predictors.multitask_nlp.training.squad import exact_match, f1, normalised, scores


def test_normalised_as_the_script_does() -> None:
    assert normalised("The  Quick, brown-fox!") == "quick brownfox"
    assert normalised("an apple a day") == "apple day"


@pytest.mark.parametrize(
    ("said", "wanted", "exact", "overlap"),
    [
        ("The Alps", "the alps.", 1, 1),
        ("in the Alps", "the Alps", 0, 2 / 3),
        ("big big dog", "big dog", 0, 0.8),  # words count as often as they stand
        ("", "", 1, 1),
        ("", "x", 0, 0),
        ("the", "a", 1, 1),  # both are nothing once articles are gone
        ("y", "x", 0, 0),
    ],
)
def test_one_answer(said: str, wanted: str, exact: float, overlap: float) -> None:
    assert exact_match(said, wanted) == exact
    assert f1(said, wanted) == pytest.approx(overlap)


def test_the_best_reference_counts_and_no_reference_wants_silence() -> None:
    assert scores(["Alps", "", "noise"], [["the Andes", "the Alps"], [], []]) == (
        pytest.approx(200 / 3),
        pytest.approx(200 / 3),
    )
