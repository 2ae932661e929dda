"""The answer to a question from the start and end logits of its context's windows.

A span's score is its start logit plus its end logit, less what its window gives to *no answer* (both at the
first token): windows become comparable, and no answer has score 0 in all of them. A span belongs to the
window that owns its start, so it counts once. Probabilities are a softmax over all spans and no answer; of
one window that is the plain softmax over them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from predictors.multitask_nlp.tasks import Answer
from predictors.multitask_nlp.tokenizer import Document, Window
from predictors.multitask_nlp.words import whole_characters

_NULL = 0
"""Where no answer stands in every window: at its first token."""


def answer(
    document: Document, starts: Sequence[np.ndarray], ends: Sequence[np.ndarray], max_tokens: int
) -> Answer:
    """``starts``, ``ends``: [n] of each window, specials and question included."""
    scores = [
        _span_scores(window, start.astype(np.float64), end.astype(np.float64), max_tokens)
        for window, start, end in zip(document.windows, starts, ends, strict=True)
    ]
    highest = max(0.0, *(float(each.max(initial=-np.inf)) for each in scores))
    total = np.exp(-highest) + sum(float(np.exp(each - highest).sum()) for each in scores)
    if highest == 0.0:
        return Answer("", 0, 0, float(1 / total), no_answer=True)
    index = max(range(len(scores)), key=lambda i: scores[i].max(initial=-np.inf))
    row, column = np.unravel_index(scores[index].argmax(), scores[index].shape)
    first = document.windows[index].owned.start + int(row)
    begin, end = whole_characters(
        document.text, int(document.offsets[first, 0]), int(document.offsets[first + int(column), 1])
    )
    return Answer(document.text[begin:end], begin, end, float(1 / total), no_answer=False)


def _span_scores(window: Window, start: np.ndarray, end: np.ndarray, max_tokens: int) -> np.ndarray:
    """[owned, max_tokens]: entry (i, k) is the span of k + 1 tokens from the i-th token the window owns."""
    null = start[_NULL] + end[_NULL]
    last = window.begin + window.count
    begin = window.begin + window.owned.start - window.first
    padded = np.concatenate([end[begin:last], np.full(max_tokens, -np.inf)])
    ends = np.lib.stride_tricks.sliding_window_view(padded, max_tokens)[: len(window.owned)]
    return start[begin : begin + len(window.owned), None] + ends - null
