"""Entities of a text from its windows' token logits: words first, then runs of words.

A word has the label of its first sub-token, the only one that was trained. A run begins at a B- label, at an
I- label of another type than the word before has, and at an I- label after O; so says conlleval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.multitask_nlp.decoding.probabilities import softmax
from predictors.multitask_nlp.tasks import NER_LABELS, Entity
from predictors.multitask_nlp.tokenizer import Document
from predictors.multitask_nlp.words import whole_characters, words

_OUTSIDE = 0


def entities(document: Document, logits: Sequence[np.ndarray]) -> tuple[Entity, ...]:
    """``logits``: [n, 9] of each window, specials included."""
    spans, labels, scores = label_words(document, words(document.text), logits)
    found: list[Entity] = []
    run: list[int] = []
    for index in range(len(labels) + 1):
        label = NER_LABELS[labels[index]] if index < len(labels) else "O"
        if run and (not label.startswith("I-") or label[2:] != NER_LABELS[labels[run[0]]][2:]):
            found.append(_entity(document.text, [spans[i] for i in run], labels[run[0]], scores[run]))
            run = []
        if label != "O":
            run.append(index)
    return tuple(found)


def label_words(
    document: Document, spans: Sequence[tuple[int, int]], logits: Sequence[np.ndarray]
) -> tuple[Sequence[tuple[int, int]], np.ndarray, np.ndarray]:
    """The words, the label of each [words], and its probability [words].

    A word that the tokenizer made nothing of (control characters) is outside.
    """
    token_logits = _owned(document, logits)
    labels = np.full(len(spans), _OUTSIDE)
    scores = np.zeros(len(spans))
    at = first_tokens(document, spans)
    real = at >= 0
    if real.any():
        probabilities = softmax(token_logits[at[real]])
        labels[real], scores[real] = probabilities.argmax(-1), probabilities.max(-1)
    return spans, labels, scores


def first_tokens(document: Document, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """int64 [words]: which of the document's tokens begins each word, -1 for none."""
    if not spans:
        return np.empty(0, np.int64)
    starts = document.offsets[:, 0]
    begins, ends = np.array(spans, np.int64).T
    at = np.searchsorted(starts, begins)
    inside = at < len(starts)
    inside[inside] = starts[at[inside]] < ends[inside]
    return np.where(inside, at, -1)


def _owned(document: Document, logits: Sequence[np.ndarray]) -> np.ndarray:
    """[tokens, 9]: each token's logits from the window that owns it."""
    parts = [
        rows[
            window.begin + window.owned.start - window.first : window.begin + window.owned.stop - window.first
        ]
        for window, rows in zip(document.windows, logits, strict=True)
    ]
    return np.concatenate(parts)


def _entity(text: str, spans: Sequence[tuple[int, int]], label: int, scores: np.ndarray) -> Entity:
    begin, end = whole_characters(text, spans[0][0], spans[-1][1])
    return Entity(text[begin:end], NER_LABELS[label][2:], float(scores.mean()), begin, end)
