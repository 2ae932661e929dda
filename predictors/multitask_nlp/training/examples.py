"""What one training example of each task is, whatever it was read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SentimentExample:
    text: str
    label: int
    """Index into SENTIMENTS."""


@dataclass(frozen=True, slots=True)
class NerExample:
    words: tuple[str, ...]
    labels: tuple[int, ...]
    """Index into NER_LABELS, of each word."""


@dataclass(frozen=True, slots=True)
class QaExample:
    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    """Every reference: text and where it begins in the context, in code points; none: not answerable."""


Example = SentimentExample | NerExample | QaExample


@dataclass(frozen=True)
class Split:
    """Examples of all three tasks."""

    sentiment: Sequence[SentimentExample]
    ner: Sequence[NerExample]
    qa: Sequence[QaExample]

    def of(self, task: str) -> Sequence[Example]:
        return getattr(self, task)
