"""Examples to labelled windows of tokens, with the tokenizer and the windows that serving uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from predictors.multitask_nlp.decoding.ner import first_tokens
from predictors.multitask_nlp.tokenizer import Document, TextTokenizer, Window
from predictors.multitask_nlp.training.examples import NerExample, QaExample, SentimentExample, Split

IGNORED = -100
"""What cross entropy passes over: specials, padding, sub-tokens after a word's first, tokens not owned."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One window the encoder reads, and what its head should say."""

    ids: np.ndarray
    """int64 [n]"""
    labels: np.ndarray
    """int64: sentiment [1], ner [n], qa [2] (start and end; 0 and 0 for no answer in this window)"""


@dataclass(frozen=True)
class Batch:
    task: str
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def features(split: Split, tokenizer: TextTokenizer) -> dict[str, list[Feature]]:
    return {
        "sentiment": sentiment_features(split.sentiment, tokenizer),
        "ner": ner_features(split.ner, tokenizer),
        "qa": qa_features(split.qa, tokenizer),
    }


def sentiment_features(examples: Sequence[SentimentExample], tokenizer: TextTokenizer) -> list[Feature]:
    documents = tokenizer.texts([example.text for example in examples])
    return [
        Feature(window.ids, np.array([example.label]))
        for example, document in zip(examples, documents, strict=True)
        for window in document.windows
    ]


def ner_features(examples: Sequence[NerExample], tokenizer: TextTokenizer) -> list[Feature]:
    documents = tokenizer.texts([" ".join(example.words) for example in examples])
    made: list[Feature] = []
    for example, document in zip(examples, documents, strict=True):
        token_labels = np.full(len(document.offsets), IGNORED)
        at = first_tokens(document, word_spans(example.words))
        token_labels[at[at >= 0]] = np.array(example.labels)[at >= 0]
        for window in document.windows:
            labels = np.full(len(window.ids), IGNORED)
            begin = window.begin + window.owned.start - window.first
            labels[begin : begin + len(window.owned)] = token_labels[window.owned.start : window.owned.stop]
            made.append(Feature(window.ids, labels))
    return made


def qa_features(examples: Sequence[QaExample], tokenizer: TextTokenizer) -> list[Feature]:
    """Questions too long for a window are left out."""
    documents = tokenizer.questions([(example.question, example.context) for example in examples])
    return [
        Feature(window.ids, np.array(_span(example, document, window)))
        for example, document in zip(examples, documents, strict=True)
        if document is not None
        for window in document.windows
    ]


def word_spans(words: Sequence[str]) -> list[tuple[int, int]]:
    """Where each word stands when they are joined by single spaces."""
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return spans


def collate(task: str, batch: Sequence[Feature], pad_id: int = 0) -> Batch:
    """Padded to the longest; labels as task_loss takes them."""
    length = max(len(feature.ids) for feature in batch)
    ids = np.full((len(batch), length), pad_id, np.int64)
    mask = np.zeros((len(batch), length), np.int64)
    for row, feature in enumerate(batch):
        ids[row, : len(feature.ids)] = feature.ids
        mask[row, : len(feature.ids)] = 1
    if task == "ner":
        labels = np.full((len(batch), length), IGNORED)
        for row, feature in enumerate(batch):
            labels[row, : len(feature.labels)] = feature.labels
    else:
        labels = np.stack([feature.labels for feature in batch])
        labels = labels[:, 0] if task == "sentiment" else labels
    return Batch(task, torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels))


def _span(example: QaExample, document: Document, window: Window) -> tuple[int, int]:
    """Start and end of the first reference in the window's positions; 0, 0 when it is not all inside."""
    if not example.answers:
        return 0, 0
    text, begin = example.answers[0]
    end = begin + len(text)
    starts, ends = document.offsets.T
    inside = np.flatnonzero((starts < end) & (ends > begin))
    if not len(inside) or inside[0] < window.first or inside[-1] >= window.first + window.count:
        return 0, 0
    shift = window.begin - window.first
    return int(inside[0]) + shift, int(inside[-1]) + shift
