"""What callers may ask: one item of v1 or v2, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from predictors.multitask_nlp.predictor import MultitaskNlp
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.multitask_nlp.tasks import Analysis, Answer, Entity, Query, Sentiment
from predictors.runtime.errors import InvalidValue


@pytest.fixture
def predictor(tmp_path: Path) -> MultitaskNlp:
    return MultitaskNlp(MultitaskSettings(model_dir=tmp_path))  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({"task": "sentiment", "text": "a"}, Query(("sentiment",), text="a")),
        ({"task": "ner,sentiment", "text": "a"}, Query(("sentiment", "ner"), text="a")),
        ({"task": ["ner", "ner"], "text": "a"}, Query(("ner",), text="a")),
        ({"task": "qa", "question": "q", "context": "c"}, Query(("qa",), question="q", context="c")),
        (
            {"task": "qa", "question": "q", "context": "c", "text": ""},  # a row of tensors
            Query(("qa",), question="q", context="c"),
        ),
        (
            {"task": ["qa", "ner"], "question": "q", "text": "one text"},
            Query(("ner", "qa"), text="one text", question="q", context="one text"),
        ),
    ],
)
def test_an_item(predictor: MultitaskNlp, fields: dict[str, Any], query: Query) -> None:
    assert predictor.parse(fields) == query


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "a"}, "task"),
        ({"task": "mood", "text": "a"}, "task"),
        ({"task": [], "text": "a"}, "task"),
        ({"task": ["ner", 3], "text": "a"}, "task"),
        ({"task": "", "text": "a"}, "task"),
        ({"task": {"ner": True}, "text": "a"}, "task"),
        ({"task": "sentiment"}, "text"),
        ({"task": "sentiment", "text": ""}, "text"),
        ({"task": "sentiment", "text": None}, "text"),
        ({"task": "sentiment", "text": 7}, "text"),
        ({"task": "ner", "context": "a"}, "text"),
        ({"task": "qa", "context": "c"}, "question"),
        ({"task": "qa", "question": "q"}, "context"),
        ({"task": "ner", "text": "a" * 100_001}, "text"),
        ({"task": "ner", "text": "a", "lang": "en"}, "lang"),
    ],
)
def test_a_wrong_item_is_refused_with_its_field(
    predictor: MultitaskNlp, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        predictor.parse(fields)
    assert refused.value.details[0]["field"] == field


def test_an_answer_has_the_outputs_of_its_tasks_only(predictor: MultitaskNlp) -> None:
    nothing = predictor.render(Analysis())
    assert set(nothing) == {spec.name for spec in predictor.outputs}
    assert set(nothing.values()) == {None}
    everything = predictor.render(
        Analysis(
            Sentiment("positive", 0.9), (Entity("Bo", "PER", 0.8, 0, 2),), Answer("Bo", 0, 2, 0.7, False)
        )
    )
    assert everything == {
        "sentiment": "positive",
        "sentiment_score": 0.9,
        "entities": [{"text": "Bo", "type": "PER", "score": 0.8, "start_char": 0, "end_char": 2}],
        "answer": "Bo",
        "start_char": 0,
        "end_char": 2,
        "answer_score": 0.7,
        "no_answer": False,
    }
