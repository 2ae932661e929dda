"""What callers may ask, and what a small model makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictors.multitask_nlp.artifact import MANIFEST
from predictors.multitask_nlp.engine import Engine, Logits
from predictors.multitask_nlp.predictor import MultitaskNlp, Reading
from predictors.multitask_nlp.settings import MultitaskSettings
from predictors.multitask_nlp.tasks import Analysis, Answer, Entity, Query, Sentiment
from predictors.runtime.cpus import available_cpus
from predictors.runtime.errors import Internal, InvalidValue, LoadError


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


@pytest.fixture
def loaded(served: Path) -> MultitaskNlp:
    predictor = MultitaskNlp(MultitaskSettings(model_dir=served, threads=1))  # pyright: ignore[reportCallIssue]
    predictor.load(lambda _: None)
    return predictor


def test_it_passes_its_own_test(loaded: MultitaskNlp) -> None:
    loaded.self_test()


class Neighbourly(Engine):
    """Says something else in the first call, which is the one that the self-test's texts share."""

    heads: tuple[str, ...]
    calls = 0

    def logits(self, sequences: Any) -> list[Logits]:
        self.calls += 1
        shared = self.calls == 1
        found = []
        for logits in super().logits(sequences):
            parts = {head: np.zeros_like(getattr(logits, head)) for head in self.heads}
            for head, part in parts.items():
                part[..., (1 if shared else 3) if head == "ner" else (-4 if shared else -6)] = 50
            found.append(logits._replace(**parts))
        return found


@pytest.mark.parametrize("heads", [("ner",), ("start", "end")])
def test_what_depends_on_its_neighbours_fails_the_self_test(
    loaded: MultitaskNlp, heads: tuple[str, ...]
) -> None:
    loaded._engine = engine = Neighbourly(loaded._artifact.graph, 1)
    engine.heads = heads
    with pytest.raises(LoadError, match="an answer differs when others share its call"):
        loaded.self_test()


def test_two_tasks_of_a_text_are_one_reading(loaded: MultitaskNlp) -> None:
    both, one = loaded.prepare([Query(("sentiment", "ner"), text="a b"), Query(("ner",), text="a b")])
    assert isinstance(both, Reading)
    assert isinstance(one, Reading)
    assert loaded.tokens(both) == loaded.tokens(one) == 4


class Counting(Engine):
    """How many sequences there were in each pass of the encoder."""

    passes: list[int]

    def _pass(self, requests: Any, sequences: Any) -> list[Logits]:
        self.passes.append(len(sequences))
        return super()._pass(requests, sequences)


def test_tasks_share_a_pass_of_the_encoder(loaded: MultitaskNlp, served: Path) -> None:
    loaded._engine = engine = Counting(loaded._artifact.graph, 1)
    engine.passes = []
    loaded.analyse(
        [
            Query(("sentiment",), text="a b c d e"),
            Query(("sentiment", "ner"), text="a b c d e"),
            Query(("qa",), question="q", context="a b c"),
        ]
    )
    assert engine.passes == [3]


def test_a_graph_that_reads_less_than_its_folder_says(served: Path, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    shutil.copytree(served, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "max_length": 65}))
    predictor = MultitaskNlp(MultitaskSettings(model_dir=folder, threads=1))  # pyright: ignore[reportCallIssue]
    with pytest.raises(LoadError, match="does not run on 65 tokens"):
        predictor.load(lambda _: None)


@pytest.mark.parametrize("number", [120, 700])
def test_a_graph_that_knows_fewer_tokens_than_its_tokenizer(
    served: Path, tmp_path: Path, number: int
) -> None:
    """``number``: of one more token, after the last or far from it. A count would not see a gap."""
    folder = tmp_path / "served"
    shutil.copytree(served, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["word"] = number
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256"]["tokenizer.json"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    predictor = MultitaskNlp(MultitaskSettings(model_dir=folder, threads=1))  # pyright: ignore[reportCallIssue]
    with pytest.raises(LoadError, match=f"knows 120 tokens, but its tokenizer numbers them up to {number}"):
        predictor.load(lambda _: None)


@pytest.mark.parametrize("threads", [1, 3, None])
def test_the_engine_has_the_threads_of_the_settings_or_all_there_are(
    served: Path, threads: int | None
) -> None:
    predictor = MultitaskNlp(MultitaskSettings(model_dir=served, threads=threads))  # pyright: ignore[reportCallIssue]
    predictor.load(lambda _: None)
    assert predictor._engine.threads == (threads or available_cpus())
    assert predictor.description()["dtype"] == predictor._engine.dtype


class Broken(Engine):
    def logits(self, sequences: Any) -> list[Logits]:
        return [Logits(*(part * np.nan for part in found)) for found in super().logits(sequences)]


def test_what_is_not_finite_is_no_answer(loaded: MultitaskNlp) -> None:
    loaded._engine = Broken(loaded._artifact.graph, 1)
    (found,) = loaded.analyse([Query(("ner",), text="a b")])
    assert isinstance(found, Internal)
