"""The four metrics, of whatever computes logits: the model in training, or the exported graph.

Texts go the way of serving: the same windows, the same decoding; only the words of NER are those of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from predictors.multitask_nlp.decoding.ner import label_words
from predictors.multitask_nlp.decoding.qa import answer
from predictors.multitask_nlp.decoding.sentiment import sentiment
from predictors.multitask_nlp.engine import Logits
from predictors.multitask_nlp.tasks import NER_LABELS, SENTIMENTS
from predictors.multitask_nlp.tokenizer import Document, TextTokenizer
from predictors.multitask_nlp.training.examples import Split
from predictors.multitask_nlp.training.features import IGNORED, Feature, features, word_spans
from predictors.multitask_nlp.training.model import MultitaskModel
from predictors.multitask_nlp.training.squad import scores

MAX_ANSWER_TOKENS = 30
_BATCH_TOKENS = 4096

Reader = Callable[[Sequence[np.ndarray]], list[Logits]]
"""The logits of windows of token ids, each int64 [n]."""


@dataclass(frozen=True)
class Metrics:
    sentiment_accuracy: float
    """0 to 1"""
    ner_f1: float
    """0 to 1, over whole entities (seqeval)"""
    qa_exact_match: float
    """0 to 100"""
    qa_f1: float
    """0 to 100"""
    eval_loss: float
    """Cross entropy, without the tasks' weights: the mean of the three tasks'."""

    @property
    def score(self) -> float:
        """By which the best checkpoint is chosen: the mean of accuracy, NER F1 and QA F1, each 0 to 1."""
        return (self.sentiment_accuracy + self.ner_f1 + self.qa_f1 / 100) / 3

    def as_dict(self) -> dict[str, float]:
        return {**asdict(self), "score": self.score}


def evaluate(read: Reader, tokenizer: TextTokenizer, split: Split) -> Metrics:
    labelled, losses = features(split, tokenizer), []

    def noting(task: str) -> Reader:
        def noted(sequences: Sequence[np.ndarray]) -> list[Logits]:
            rows = read(sequences)
            losses.append(cross_entropy(task, rows, labelled[task]))
            return rows

        return noted

    accuracy = _sentiment(noting("sentiment"), tokenizer, split)
    ner_f1 = _ner(noting("ner"), tokenizer, split)
    exact, f1 = _qa(noting("qa"), tokenizer, split)
    return Metrics(accuracy, ner_f1, exact, f1, sum(losses) / len(losses))


def cross_entropy(task: str, rows: Sequence[Logits], labelled: Sequence[Feature]) -> float:
    """Mean over all labels of a task; ``rows`` and ``labelled`` are the same windows."""
    total, count = 0.0, 0
    for row, feature in zip(rows, labelled, strict=True):
        said = {"sentiment": row.sentiment[None], "ner": row.ner}.get(task)
        logits = np.stack([row.start, row.end]) if said is None else said
        real = feature.labels != IGNORED
        logits, labels = logits[real].astype(np.float64), feature.labels[real]
        highest = logits.max(-1, keepdims=True)
        sums = highest[:, 0] + np.log(np.exp(logits - highest).sum(-1))
        total += float((sums - logits[np.arange(len(labels)), labels]).sum())
        count += len(labels)
    return total / max(1, count)


def reader(model: MultitaskModel, pad_id: int = 0) -> Reader:
    """The model as a reader, batched by length; in evaluation mode while it reads."""

    def read(sequences: Sequence[np.ndarray]) -> list[Logits]:
        found: list[Logits | None] = [None] * len(sequences)
        training = model.training
        model.eval()
        with torch.inference_mode():
            for rows in _by_length([len(ids) for ids in sequences]):
                length = max(len(sequences[row]) for row in rows)
                ids = torch.full((len(rows), length), pad_id)
                mask = torch.zeros((len(rows), length), dtype=torch.int64)
                for place, row in enumerate(rows):
                    ids[place, : len(sequences[row])] = torch.from_numpy(sequences[row])
                    mask[place, : len(sequences[row])] = 1
                outputs = [output.float().numpy() for output in model(ids, mask)]
                for place, row in enumerate(rows):
                    real = len(sequences[row])
                    found[row] = Logits(outputs[0][place], *(output[place, :real] for output in outputs[1:]))
        model.train(training)
        return [logits for logits in found if logits is not None]

    return read


def _sentiment(read: Reader, tokenizer: TextTokenizer, split: Split) -> float:
    documents = tokenizer.texts([example.text for example in split.sentiment])
    right = 0
    for example, (document, rows) in zip(split.sentiment, _read(read, documents), strict=True):
        said = sentiment(document, [row.sentiment for row in rows]).sentiment
        right += said == SENTIMENTS[example.label]
    return right / max(1, len(documents))


def _ner(read: Reader, tokenizer: TextTokenizer, split: Split) -> float:
    from seqeval.metrics import f1_score  # imports scikit-learn: seconds that only this needs

    documents = tokenizer.texts([" ".join(example.words) for example in split.ner])
    wanted, said = [], []
    for example, (document, rows) in zip(split.ner, _read(read, documents), strict=True):
        _, labels, _ = label_words(document, word_spans(example.words), [row.ner for row in rows])
        wanted.append([NER_LABELS[label] for label in example.labels])
        said.append([NER_LABELS[label] for label in labels])
    return float(f1_score(wanted, said, zero_division=0)) if wanted else 0.0  # pyright: ignore[reportArgumentType]


def _qa(read: Reader, tokenizer: TextTokenizer, split: Split) -> tuple[float, float]:
    """A question too long for a window counts as not answered."""
    documents = tokenizer.questions([(example.question, example.context) for example in split.qa])
    fitting = _read(read, [document for document in documents if document is not None])
    answers: list[str] = []
    for document in documents:
        if document is None:
            answers.append("")
            continue
        _, rows = next(fitting)
        starts, ends = [row.start for row in rows], [row.end for row in rows]
        answers.append(answer(document, starts, ends, MAX_ANSWER_TOKENS).answer)
    return scores(answers, [[text for text, _ in example.answers] for example in split.qa])


def _read(read: Reader, documents: Sequence[Document]) -> Iterator[tuple[Document, list[Logits]]]:
    rows = iter(read([window.ids for document in documents for window in document.windows]))
    for document in documents:
        yield document, [next(rows) for _ in document.windows]


def _by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices by ascending length, in runs of a bounded number of padded tokens."""
    run: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if run and lengths[index] * (len(run) + 1) > _BATCH_TOKENS:
            yield run
            run = []
        run.append(index)
    if run:
        yield run
