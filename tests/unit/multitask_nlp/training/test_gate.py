from __future__ import annotations

import pytest

from predictors.multitask_nlp.training.evaluation import Metrics
from predictors.multitask_nlp.training.gate import Drops, GateClosed, check


def test_within_the_drops_it_passes() -> None:
    check(Metrics(0.9, 0.8, 70, 80, 1), Metrics(0.895, 0.81, 69, 79.5, 2), Drops())


def test_beyond_them_it_names_what_fell() -> None:
    with pytest.raises(
        GateClosed, match=r"ner_f1 falls from 0\.8 to 0\.7, at most 0\.01 is allowed; qa_f1"
    ) as e:
        check(Metrics(0.9, 0.8, 70, 80, 1), Metrics(0.9, 0.7, 70, 60, 1), Drops())
    assert "sentiment" not in str(e.value)
