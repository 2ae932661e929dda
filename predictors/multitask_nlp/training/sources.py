"""Training data by name, from local files, or made here. What cannot be had is an error, nothing else.

A source is one of

- ``made``: from the templates in made/;
- a folder with ``train.jsonl`` and ``validation.jsonl``, one JSON object a line:
  ``{"text": "...", "label": "positive"}``, ``{"tokens": ["..."], "tags": ["B-PER"]}`` or
  ``{"id": "...", "question": "...", "context": "...", "answers": {"text": ["..."], "answer_start": [0]}}``;
- a data set's name on the hub, ``owner/name`` or ``owner/name:configuration``, with the columns of SST-2,
  CoNLL-2003 or SQuAD v1.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS, TASKS
from predictors.multitask_nlp.training.examples import (
    Example,
    NerExample,
    QaExample,
    SentimentExample,
    Split,
)
from predictors.multitask_nlp.training.made.ner import make_ner
from predictors.multitask_nlp.training.made.qa import make_qa
from predictors.multitask_nlp.training.made.sentiment import make_sentiment
from predictors.multitask_nlp.training.made.wordings import SplitName

MADE = "made"
PUBLISHED = {"sentiment": "nyu-mll/glue:sst2", "ner": "lhoestq/conll2003", "qa": "rajpurkar/squad"}
"""The original's data sets, under names that load with current versions of ``datasets``."""
MADE_COUNTS = {
    "train": {"sentiment": 1_000, "ner": 1_600, "qa": 2_000},
    "validation": {"sentiment": 400, "ner": 400, "qa": 400},
}

Row = Mapping[str, Any]


class NoData(Exception):
    """A data set cannot be had or read; one sentence that names it."""


@dataclass(frozen=True)
class Sources:
    sentiment: str = PUBLISHED["sentiment"]
    ner: str = PUBLISHED["ner"]
    qa: str = PUBLISHED["qa"]
    max_samples: int = 10_000
    """Most examples of a task in a split, drawn at random; the rest is left out."""
    seed: int = 42


def load_split(sources: Sources, split: SplitName) -> Split:
    """Raises NoData."""
    examples = {task: _examples(task, getattr(sources, task), split, sources.seed) for task in TASKS}
    for task, found in examples.items():
        if not found:
            raise NoData(f"{getattr(sources, task)} has no {task} examples in its {split} split.")
    drawn = {
        task: _draw(found, sources.max_samples, f"{task} {split} {sources.seed}")
        for task, found in examples.items()
    }
    return Split(**drawn)  # pyright: ignore[reportArgumentType]


def digest(examples: Iterable[Example]) -> str:
    """SHA-256 over the examples as JSON lines, in hex: what data a model was trained on."""
    found = hashlib.sha256()
    for example in examples:
        found.update(json.dumps(asdict(example), sort_keys=True).encode() + b"\n")
    return found.hexdigest()


def _examples(task: str, source: str, split: SplitName, seed: int) -> Sequence[Example]:
    if source == MADE:
        make = {"sentiment": make_sentiment, "ner": make_ner, "qa": make_qa}[task]
        return make(MADE_COUNTS[split][task], split, seed)
    read = _READERS[task]
    rows = _file_rows(Path(source), split) if Path(source).is_dir() else _hub_rows(source, split)
    found: list[Example] = []
    for where, row in rows:
        try:
            found.append(read(row))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise NoData(f"{where} is not an example of the task {task} ({reason}).") from None
    return found


def _file_rows(folder: Path, split: SplitName) -> Iterable[tuple[str, Row]]:
    file = folder / f"{split}.jsonl"
    try:
        # At line feeds alone: JSON's strings may hold the other characters that splitlines() breaks at.
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NoData(f"{file} cannot be read: {error}.") from None
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            raise NoData(f"{file} line {number} is not JSON.") from None
        yield f"{file} line {number}", row


def _hub_rows(name: str, split: SplitName) -> Iterable[tuple[str, Row]]:
    from datasets import load_dataset  # imports pyarrow and pandas: seconds that local files need not pay

    path, _, configuration = name.partition(":")
    try:
        loaded = load_dataset(path, configuration or None, split=split)
    except Exception as error:  # the library raises classes of many packages
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise NoData(
            f"The data set {name} cannot be had: {reason}. Name a folder of JSON lines, or the made data."
        ) from None
    for number, row in enumerate(loaded):
        yield f"{name} {split} row {number}", dict(row)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _read_sentiment(row: Row) -> SentimentExample:
    text = row["sentence"] if "sentence" in row else row["text"]
    label = row["label"]
    return SentimentExample(_text(text), _class(label, SENTIMENTS))


def _read_ner(row: Row) -> NerExample:
    words = tuple(_text(word) for word in row["tokens"])
    tags = row["ner_tags"] if "ner_tags" in row else row["tags"]
    if len(words) != len(tags):
        raise ValueError(f"{len(words)} tokens, {len(tags)} tags")
    return NerExample(words, tuple(_class(tag, NER_LABELS) for tag in tags))


def _read_qa(row: Row) -> QaExample:
    context, given = _text(row["context"]), row["answers"]
    answers = tuple(zip(given["text"], given["answer_start"], strict=True))
    for text, start in answers:
        if start < 0 or context[start : start + len(_text(text))] != text:
            raise ValueError(f"the answer {text!r} does not stand at {start}")
    return QaExample(str(row["id"]), _text(row["question"]), context, answers)


_READERS: dict[str, Callable[[Row], Example]] = {
    "sentiment": _read_sentiment,
    "ner": _read_ner,
    "qa": _read_qa,
}


def _class(value: object, names: Sequence[str]) -> int:
    """A class by its name or its number."""
    if isinstance(value, str):
        return names.index(value)
    if type(value) is not int or not 0 <= value < len(names):
        raise ValueError(f"{value!r} is not one of {', '.join(names)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r} is not a text")
    return value


def _draw(examples: Sequence[Example], most: int, seed: str) -> list[Example]:
    if len(examples) <= most:
        return list(examples)
    return random.Random(seed).sample(list(examples), most)
