"""Training data: read as documented, or refused in a sentence that names the place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from predictors.multitask_nlp.tasks import NER_LABELS
from predictors.multitask_nlp.training.examples import NerExample, QaExample, SentimentExample
from predictors.multitask_nlp.training.made import qa, sentiment
from predictors.multitask_nlp.training.made.ner import SENTENCES
from predictors.multitask_nlp.training.made.wordings import of_split
from predictors.multitask_nlp.training.sources import MADE, NoData, Sources, digest, load_split

GOOD = {
    "sentiment": [{"text": "fine", "label": "positive"}, {"sentence": "bad", "label": 0}],
    "ner": [{"tokens": ["Bo", "is"], "tags": ["B-PER", "O"]}, {"tokens": ["Rio"], "ner_tags": [5]}],
    "qa": [
        {"id": "1", "question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}},
        {"id": "2", "question": "q", "context": "a b", "answers": {"text": [], "answer_start": []}},
    ],
}


def write(folder: Path, rows: dict[str, list[dict[str, object]]] = GOOD) -> Sources:
    for task, lines in rows.items():
        (folder / task).mkdir()
        for split in ("train", "validation"):
            (folder / task / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    return Sources(sentiment=str(folder / "sentiment"), ner=str(folder / "ner"), qa=str(folder / "qa"))


def test_json_lines(tmp_path: Path) -> None:
    split = load_split(write(tmp_path), "train")
    assert [(e.text, e.label) for e in split.sentiment] == [("fine", 1), ("bad", 0)]
    assert [(e.words, e.labels) for e in split.ner] == [(("Bo", "is"), (1, 0)), (("Rio",), (5,))]
    assert [e.answers for e in split.qa] == [(("b", 2),), ()]


def test_a_line_ends_at_a_line_feed_and_at_nothing_else(tmp_path: Path) -> None:
    """Other separators may stand in a JSON string as they are."""
    sources = write(tmp_path)
    text = "one\u2028two\u0085three\u2029four"
    row = json.dumps({"text": text, "label": 1}, ensure_ascii=False)
    (tmp_path / "sentiment" / "train.jsonl").write_text(f"{row}\r\n{row}\n", "utf-8")
    assert [example.text for example in load_split(sources, "train").sentiment] == [text, text]


@pytest.mark.parametrize(
    ("task", "row", "sentence"),
    [
        ("sentiment", {"text": "x", "label": "meh"}, "sentiment/train.jsonl line 1 is not an example"),
        ("sentiment", {"text": "x", "label": 2}, "2 is not one of negative, positive"),
        ("sentiment", {"text": "", "label": 1}, "is not a text"),
        ("sentiment", {"label": 1}, "KeyError: 'text'"),
        ("ner", {"tokens": ["a"], "tags": ["O", "O"]}, "1 tokens, 2 tags"),
        ("ner", {"tokens": ["a"], "tags": [9]}, "9 is not one of O, B-PER"),
        (
            "qa",
            {"id": "1", "question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [1]}},
            "'b' does not stand at 1",
        ),
        (
            "qa",
            {"id": "1", "question": "q", "context": "a b", "answers": {"text": ["a"], "answer_start": [-3]}},
            "'a' does not stand at -3",
        ),
        (
            "qa",
            {"id": "1", "question": "q", "context": "a b", "answers": {"text": [""], "answer_start": [0]}},
            "'' is not a text",
        ),
    ],
)
def test_a_row_that_is_no_example(tmp_path: Path, task: str, row: dict[str, object], sentence: str) -> None:
    sources = write(tmp_path, {**GOOD, task: [row]})
    with pytest.raises(NoData, match=sentence):
        load_split(sources, "train")


def test_a_missing_data_set_is_an_error_and_never_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Read when they are imported, which another test may have done.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    for source in (str(tmp_path / "nowhere"), "nobody/nothing"):
        with pytest.raises(NoData, match=f"data set {source} cannot be had"):
            load_split(Sources(ner=source, sentiment=MADE, qa=MADE), "train")


def test_a_data_set_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the columns and the kinds of labels that the published ones have."""
    from datasets import ClassLabel, Dataset, List  # seconds, which the other tests need not wait

    asked: list[tuple[str, str | None, str]] = []
    rows = {
        "nyu-mll/glue": [{"sentence": "fine ", "label": 1, "idx": 0}],
        "lhoestq/conll2003": [{"id": "0", "tokens": ["Bo", "is"], "pos_tags": [0, 1], "ner_tags": [1, 0]}],
        "rajpurkar/squad": [
            {
                "id": "1",
                "title": "t",
                "question": "q",
                "context": "a b",
                "answers": {"text": ["b", "a b"], "answer_start": [2, 0]},
            }
        ],
    }
    labels = {
        "nyu-mll/glue": ("label", ClassLabel(names=["negative", "positive"])),
        "lhoestq/conll2003": ("ner_tags", List(ClassLabel(names=list(NER_LABELS)))),
    }

    def load_dataset(path: str, configuration: str | None, *, split: str) -> Dataset:
        asked.append((path, configuration, split))
        loaded = Dataset.from_list(rows[path])
        return loaded.cast_column(*labels[path]) if path in labels else loaded

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    split = load_split(Sources(), "validation")
    assert asked == [
        ("nyu-mll/glue", "sst2", "validation"),
        ("lhoestq/conll2003", None, "validation"),
        ("rajpurkar/squad", None, "validation"),
    ]
    assert split.sentiment == [SentimentExample("fine ", 1)]
    assert split.ner == [NerExample(("Bo", "is"), (1, 0))]
    assert split.qa == [QaExample("1", "q", "a b", (("b", 2), ("a b", 0)))]


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="has no ner examples in its train split"):
        load_split(write(tmp_path, {**GOOD, "ner": []}), "train")


def test_a_cap_is_drawn_from_everywhere_and_the_same_each_time() -> None:
    sources = Sources(MADE, MADE, MADE, max_samples=50, seed=1)
    whole = list(load_split(Sources(MADE, MADE, MADE, seed=1), "train").sentiment)
    drawn, again = (list(load_split(sources, "train").sentiment) for _ in range(2))
    assert drawn == again
    assert len(drawn) == 50
    assert digest(drawn) == digest(again) != digest(whole[:50])
    assert max(whole.index(example) for example in drawn) > 500


def test_made_data_hold_out_wordings() -> None:
    for wordings in (sentiment.EITHER, sentiment.POSITIVE, SENTENCES, qa.FACTS[0].statements):
        train, held_out = of_split(wordings, "train"), of_split(wordings, "validation")
        assert train
        assert held_out
        assert not set(train) & set(held_out)
        assert len(train) + len(held_out) == len(wordings)


def test_made_answers_stand_where_they_say_and_made_labels_are_well_formed() -> None:
    split = load_split(Sources(MADE, MADE, MADE, seed=1), "validation")
    for example in split.qa:
        assert all(example.context[at : at + len(text)] == text for text, at in example.answers)
    assert 0.05 < sum(not example.answers for example in split.qa) / len(split.qa) < 0.3
    for example in split.ner:
        names = [NER_LABELS[label] for label in example.labels]
        for before, label in zip(["O", *names], names, strict=False):
            assert not label.startswith("I-") or before[2:] == label[2:], example
    train = load_split(Sources(MADE, MADE, MADE, seed=1), "train")
    assert {NER_LABELS[label] for example in train.ner for label in example.labels} == set(NER_LABELS)
